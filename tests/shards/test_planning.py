"""Every row of a manifest lies in one shard, and stays there when the manifest grows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.manifest import reader
from spire_ray.manifest.unique import Hashes
from spire_ray.shards import planning


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


def test_rows_that_changed_after_they_were_planned_are_refused(tmp_path):
    out = str(tmp_path / "out")
    uri = manifest(tmp_path / "m.jsonl", [1.0] * 30)
    shard = planning.plan(uri, {}, out, 10.0)[1]
    manifest(tmp_path / "m.jsonl", [1.0] * 12 + [2.0] * 18)
    with pytest.raises(ValueError, match=r"rows 10 to 19 of .* are not those that were planned"):
        planning.plan(uri, {}, out, 10.0)
    with pytest.raises(ValueError, match="have changed since they were planned"):
        planning.check(shard, reader.rows(shard.file, {}, shard.first, shard.rows))
    manifest(tmp_path / "m.jsonl", [1.0] * 25)
    with pytest.raises(ValueError, match="fewer rows than were planned"):
        planning.plan(uri, {}, out, 10.0)


def test_a_finished_plan_knows_when_its_manifest_has_grown(tmp_path):
    uri, out = manifest(tmp_path / "m.jsonl", [1.0] * 3), str(tmp_path / "out")
    planning.plan(uri, {}, out, 10.0)
    assert planning.is_planned(uri, {}, out)
    manifest(tmp_path / "m.jsonl", [1.0] * 4)
    assert not planning.is_planned(uri, {}, out)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20))
def test_repeated_ids_and_only_those_share_a_hash(names):
    with Hashes() as hashes:
        for name in names:
            hashes.add([name])
        assert hashes.repeated() == {hash(name) for name in set(names) if names.count(name) > 1}
