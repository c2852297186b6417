"""Every row of a manifest lies in one shard, and stays there when the manifest grows."""

import json
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.manifest import reader
from spire_ray.manifest.unique import Hashes
from spire_ray.shards import growth, planning
from spire_ray.shards.shard import Work, check, digest


def manifest(path, durations, name="u"):
    lines = [{"utt_id": f"{name}{n}", "audio_filepath": f"{n}.wav", "duration": d} for n, d in enumerate(durations)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def ids(shards):
    return [i for s in shards if not s.begin for i in reader.rows(s.file, {}, s.first, s.rows)["utt_id"].to_pylist()]


@given(
    durations=st.lists(st.one_of(st.none(), st.floats(0, 500)), min_size=1, max_size=60),
    more=st.lists(st.floats(0, 500), max_size=40),
    cut=st.booleans(),
)
def test_every_row_lies_in_one_shard_and_stays_there(tmp_path_factory, durations, more, cut):
    folder = tmp_path_factory.mktemp("plan")
    out = str(folder / "out")
    first = planning.plan(manifest(folder / "m.jsonl", durations), {}, out, 100.0, cut=cut)
    assert ids(first) == [f"u{n}" for n in range(len(durations))]
    assert [shard.shard for shard in first] == list(range(len(first)))
    whole = [s for s in first if s.begin is None and s.rows > 1]
    assert all(s.seconds < 100 + 500 for s in whole)
    assert planning.plan(str(folder / "m.jsonl"), {}, out, 100.0, cut=cut) == first
    grown = planning.plan(manifest(folder / "m.jsonl", durations + more), {}, out, 100.0, cut=cut)
    assert grown[: len(first)] == first
    assert ids(grown) == [f"u{n}" for n in range(len(durations) + len(more))]


def test_the_windows_of_a_long_recording_tile_it(tmp_path):
    shards = planning.plan(manifest(tmp_path / "m.jsonl", [5, 250, 7]), {}, str(tmp_path / "out"), 100.0, cut=True)
    assert [(s.first, s.begin, s.end) for s in shards] == [
        (0, None, None),
        (1, 0, 100),
        (1, 100, 200),
        (1, 200, 250),
        (2, None, None),
    ]


def test_parquet_is_planned_in_place_by_row_groups(tmp_path):
    table = pa.table({"utt_id": [f"u{n}" for n in range(50)], "audio": [f"{n}.wav" for n in range(50)], "duration": [1.0] * 50})
    for part in range(2):
        pq.write_table(table.slice(part * 25, 25), tmp_path / f"part-{part:06d}.parquet", row_group_size=4)
    shards = planning.plan(str(tmp_path), {}, str(tmp_path / "out"), 10.0)
    assert {s.file for s in shards} == {f"{tmp_path}/part-000000.parquet", f"{tmp_path}/part-000001.parquet"}
    assert ids(shards) == [f"u{n}" for n in range(50)]


def test_other_rows_than_were_planned_are_refused_and_nothing_is_written(tmp_path):
    out = tmp_path / "out"
    uri = manifest(tmp_path / "m.jsonl", [1.0] * 30)
    shard = planning.plan(uri, {}, str(out), 10.0)[1]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for durations, name, reason in [
        ([1.0] * 30, "v", r"rows 0 to 9 of .* are not those that were planned"),
        ([1.0] * 25, "u", "fewer rows than were planned"),
    ]:
        manifest(tmp_path / "m.jsonl", durations, name)
        with pytest.raises(ValueError, match=reason):
            planning.plan(uri, {}, str(out), 10.0)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    rows = reader.rows(shard.file, {}, shard.first, shard.rows)
    check(shard, rows)
    with pytest.raises(ValueError, match="have changed since they were planned"):
        check(shard, rows.slice(1))


def test_what_is_heard_and_what_goes_along_change_apart(tmp_path):
    out, rows = str(tmp_path / "out"), [{"utt_id": f"u{n}", "audio_filepath": f"{n}.wav", "duration": 1.0} for n in range(30)]

    def planned(changed):
        lines = [json.dumps(row | (changed if row["utt_id"] == "u12" else {})) for row in rows]
        (tmp_path / "m.jsonl").write_text("\n".join(lines))
        return planning.plan(str(tmp_path / "m.jsonl"), {}, out, 10.0)

    first = planned({})
    for changed in (
        {"text": "a"},
        {"lang": "de"},
        {"translations": {"de": "a"}},
        {"speaker": "s"},
        {"split": "dev"},
        {"corpus": "c"},
    ):
        now = planned(changed)
        assert [a.digest == b.digest for a, b in zip(first, now, strict=True)] == [True, True, True]
        assert [a.carried == b.carried for a, b in zip(first, now, strict=True)] == [True, False, True]
    for changed in ({"audio_filepath": "other.wav"}, {"offset": 1.0}, {"duration": 2.0}):
        now = planned(changed)
        assert [a.digest == b.digest for a, b in zip(first, now, strict=True)] == [True, False, True]
    assert planned({}) == first


def test_a_folder_that_is_moved_keeps_its_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest(tmp_path / "m.jsonl", [1.0] * 30)
    first = planning.plan("m.jsonl", {}, "out", 10.0)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    moved = planning.read(str(tmp_path / "elsewhere"))
    assert ids(moved) == [f"u{n}" for n in range(30)]
    assert planning.plan(str(tmp_path / "m.jsonl"), {}, str(tmp_path / "elsewhere"), 10.0) == moved
    assert [replace(shard, file="") for shard in moved] == [replace(shard, file="") for shard in first]


@given(st.data())
def test_a_digest_does_not_depend_on_how_rows_lie_in_memory(data):
    texts = data.draw(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=30))
    numbers = data.draw(st.lists(st.one_of(st.none(), st.floats(0, 9)), min_size=len(texts), max_size=len(texts)))
    pairs = pa.array([[("de", text)] if text else None for text in texts], pa.map_(pa.string(), pa.string()))
    table = pa.table({"a": pa.array(texts, pa.string()), "b": pa.array(numbers, pa.float64()), "c": pairs})
    parts = data.draw(st.lists(st.integers(0, len(texts)), max_size=3).map(sorted))
    ends = [0, *parts, len(texts)]
    split = pa.concat_tables([table.slice(a, b - a) for a, b in pairwise(ends)])
    around = pa.concat_tables([table, table, table]).combine_chunks().slice(len(texts), len(texts))
    taken = table.take(pa.array(range(len(texts))))
    assert len({digest(t, ["a", "b", "c"]) for t in (table, split, around, taken)}) == 1


def test_a_finished_plan_knows_when_its_manifest_has_grown(tmp_path):
    uri, out = manifest(tmp_path / "m.jsonl", [1.0] * 3), str(tmp_path / "out")
    planning.plan(uri, {}, out, 10.0)
    assert planning.is_planned(uri, {}, out)
    manifest(tmp_path / "m.jsonl", [1.0] * 4)
    assert not planning.is_planned(uri, {}, out)


def test_work_that_is_counted_by_rows_grows_file_by_file():
    def grown(files, old=()):
        names = {name: [f"{name}{n}" for n in range(rows)] for name, rows in files.items()}
        tables = ((name, pa.table({"utt_id": ids, "text": ids})) for name, ids in names.items())
        return growth.extended(tables, list(old), Work(("text",), limit=2))

    first = grown({"a": 5, "c": 1})
    assert [(s.file, s.first, s.rows) for s in first] == [("a", 0, 2), ("a", 2, 2), ("a", 4, 1), ("c", 0, 1)]
    more = grown({"a": 8, "b": 1, "c": 1}, first)
    assert more[:4] == first
    assert [(s.shard, s.file, s.first, s.rows) for s in more[4:]] == [(4, "a", 5, 2), (5, "a", 7, 1), (6, "b", 0, 1)]
    for files, reason in [({"a": 4, "c": 1}, "a has fewer rows than were planned"), ({"a": 5}, "c was planned and is gone")]:
        with pytest.raises(ValueError, match=reason):
            grown(files, first)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20))
def test_repeated_ids_and_only_those_share_a_hash(names):
    with Hashes() as hashes:
        for name in names:
            hashes.add([name])
        assert hashes.repeated() == {hash(name) for name in set(names) if names.count(name) > 1}
