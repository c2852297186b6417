"""A shard that one node cannot do is tried on another, a node at fault gets no more, and what stays undone is named."""

import itertools

import pytest

from spire_ray.runtime import asides, nodes
from spire_ray.runtime.asides import Aside

COUNT = 6


class Cluster:
    """Nodes, each with what it says of a shard; work goes to the first of them that may have it."""

    def __init__(self, monkeypatch, said, driver_sees=True):
        self.said, self.passes = said, []
        monkeypatch.setattr(nodes, "others", lambda than: bool(said.keys() - set(than)))
        monkeypatch.setattr(nodes, "name", str)
        monkeypatch.setattr("spire_ray.shards.proof.sees", lambda *_: driver_sees)

    def __call__(self, rows, left_out):
        node = next(node for node in self.said if node not in left_out)
        self.passes.append((node, [row["shard"] for row in rows]))
        return self

    def iter_rows(self):
        node, numbers = self.passes[-1]
        for number in numbers:
            told = self.said[node](number)
            aside = Aside(**({"node": node} | told)) if told else Aside()
            yield {"shard": number} | {f"aside_{key}": value for key, value in vars(aside).items()}


def rows():
    keys = {"file": "m.parquet", "rows": 10, "seconds": 1.0, "begin": None, "end": None, "ids": "", "digest": "", "carried": ""}
    return [{"shard": number, "first": 10 * number} | keys for number in range(COUNT)]


def done(cluster):
    return sorted(found["shard"] for found in asides.results(rows(), {}, cluster))


def good(number):
    return {}


@pytest.mark.parametrize("kind", ["node", "withheld"])
def test_a_node_that_does_not_see_what_the_driver_sees_gets_no_more_shards(kind, monkeypatch, capsys):
    cluster = Cluster(monkeypatch, {"bad": lambda number: {"why": "no mount", "kind": kind}, "good": good})
    assert done(cluster) == list(range(COUNT))
    assert cluster.passes == [("bad", list(range(COUNT))), ("good", list(range(COUNT)))]
    assert capsys.readouterr().out == "  node bad is left out: no mount\n"


@pytest.mark.parametrize("kind", ["withheld", "rows"])
def test_what_the_driver_does_not_see_either_is_tried_on_one_other_node_alone(kind, monkeypatch):
    def says(number):
        return {"why": "all gone", "kind": kind} if number in (2, 3) else {}

    cluster = Cluster(monkeypatch, {"first": says, "second": good, "third": good}, driver_sees=False)
    assert done(cluster) == list(range(COUNT))
    assert cluster.passes == [("first", list(range(COUNT))), ("second", [2, 3])]


def test_what_every_node_lacks_stays_undone_and_is_named_when_all_else_is_done(monkeypatch):
    def says(number):
        return {"why": "3 of 4 rows unreachable: ExpiredToken", "kind": "withheld"} if number == 1 else {}

    cluster, found = Cluster(monkeypatch, {"first": says, "second": says}, driver_sees=False), []
    with pytest.raises(ValueError, match=r"^1 of 6 shards are set aside: shard 1, rows 10 to 19 of m.parquet: 3 of 4 .*second"):
        found.extend(asides.results(rows(), {}, cluster))
    assert sorted(row["shard"] for row in found) == [0, 2, 3, 4, 5]


def test_when_nothing_can_be_reached_any_more_the_job_ends_and_does_not_try_all_that_is_left(monkeypatch):
    monkeypatch.setattr(asides, "_OUTAGE", 1.5)
    monkeypatch.setattr("time.monotonic", itertools.count().__next__)
    gone = {"why": "10 of 10 rows unreachable: 503", "kind": "withheld"}
    cluster = Cluster(monkeypatch, {"a": lambda n: {} if n in (0, 2) else gone, "b": good}, driver_sees=False)
    with pytest.raises(ValueError, match=r"^4 of 6 shards are set aside: shard 1, .*; shard 4, .*; 1 not tried any more"):
        done(cluster)


def test_a_shard_that_kills_its_workers_is_not_tried_elsewhere(monkeypatch):
    cluster = Cluster(monkeypatch, {"a": lambda n: {"why": "3 died", "kind": "deaths"} if not n else {}, "b": good})
    with pytest.raises(ValueError, match=r"shard 0, rows 0 to 9 of m\.parquet: 3 died"):
        done(cluster)
    assert len(cluster.passes) == 1


def test_only_beginnings_without_an_end_are_deaths():
    count = nodes.Deaths()
    assert count.begin("x", "a") == []
    count.end("x")
    assert count.begin("x", "a") == []
    assert count.begin("x", "b") == ["a"]
    assert count.begin("x", "b") == ["a", "b"]
