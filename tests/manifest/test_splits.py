"""Splits of a manifest that has none."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.manifest import reader, splits
from spire_ray.tools import manifest as tool


def lines(path, rows):
    path.write_text(
        "".join(json.dumps({"audio_filepath": f"{n}.flac", "duration": 1.0, **row}) + "\n" for n, row in enumerate(rows))
    )
    return str(path)


def test_a_speaker_is_on_one_side_and_a_split_that_is_given_stays(tmp_path, capsys):
    rows = [{"utt_id": f"u{n}", "text": "a", "speaker": f"s{n % 200}"} for n in range(1000)]
    rows += [{"utt_id": f"v{n}", "text": "a", "speaker": f"s{n}", "split": "dev"} for n in range(5)]
    source, target = lines(tmp_path / "m.jsonl", rows), str(tmp_path / "m.parquet")
    assert tool.main([source, target, "--hold-out", "20"]) == 0
    made = pq.read_table(target)
    sides = {}
    for speaker, split in zip(made["speaker"].to_pylist()[:1000], made["split"].to_pylist(), strict=False):
        sides.setdefault(speaker, set()).add(split)
    assert all(len(each) == 1 for each in sides.values())
    assert 120 < made["split"].to_pylist().count("test") < 280
    assert made["split"].to_pylist()[1000:] == ["dev"] * 5
    assert f"dev 5, test {made['split'].to_pylist().count('test')}, train" in capsys.readouterr().out


def test_a_grown_manifest_keeps_its_split(tmp_path):
    rows = [{"utt_id": f"u{n}", "text": "a"} for n in range(300)]
    found = []
    for count in (200, 300):
        tables = reader.stream(lines(tmp_path / f"{count}.jsonl", rows[:count]))
        found.append(pa.concat_tables(splits.held_out(tables, 10))["split"].to_pylist())
    assert found[0] == found[1][:200] and set(found[0]) == {"train", "test"}


@pytest.mark.parametrize(
    ("percent", "reason"), [("0", "between 0 and 100"), ("nan", "between"), ("0.0001", "no row falls into test")]
)
def test_what_cannot_be_held_out(percent, reason, tmp_path, capsys):
    source = lines(tmp_path / "m.jsonl", [{"text": "a"}] * 5)
    assert tool.main([source, str(tmp_path / "m.parquet"), "--hold-out", percent]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "m.parquet").exists()


def test_a_split_without_rows_is_refused_before_work(tmp_path):
    source = lines(tmp_path / "m.jsonl", [{"text": "a"}] * 5)
    with pytest.raises(ValueError, match=r"split=train: no row of .* --hold-out PERCENT"):
        splits.require(source, "train")
    splits.require(source, "all")
    splits.require(str(tmp_path / "not-made-yet.parquet"), "train")
