"""The stage pseudo_label on a cluster: by shards, on after a stop, on with data that has grown, and every row accounted for."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spire_ray import cli
from spire_ray.manifest.schema import UNITS
from spire_ray.pseudo_labels import labels
from spire_ray.tools import audit, status


def units(folder, part, count, language="en"):
    rows = [
        {
            "utt_id": f"u{part}-{n}", "text": "dog " * n, "language": language, "split": "train", "units": [n], "duration": 1.0,
            "status": "labelled",
        }
        for n in range(count)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), folder / f"part-{part:06d}.parquet")


@pytest.fixture
def run(tmp_path, tiny_codebook, tiny_model, stand_in_for_comet, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "units").mkdir()
    for part, count in enumerate((18, 6)):
        units(tmp_path / "units", part, count)
    (tmp_path / "units" / "fingerprint.json").write_text(json.dumps(tiny_codebook.fingerprint.to_dict()))
    config = {
        "stage": "pseudo_label", "output": str(tmp_path / "out"), "data": str(tmp_path / "units"), "model": tiny_model,
        "languages": ["de", "fr"], "rows_per_shard": 8, "max_new_tokens": 4, "tracking": {"enabled": False},
        "quality": {"model": "some/kiwi", "python": stand_in_for_comet, "threshold": 2.0},
        "license": {"accept": ["some/kiwi"]},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    return lambda *more: cli.main(["pseudo_label", "--config", str(tmp_path / "c.yaml"), *more])


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}


def test_a_stopped_job_goes_on_with_what_is_missing_and_a_grown_folder_with_what_is_new(
    ray_session, run, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"

    def stop(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:  # after the shards
        patch.setattr(labels, "cuts", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run()
    made = times(out / "labels")
    assert len(made) == 4  # 8 + 8 + 2 rows of the first file, 6 of the second
    (out / "_done" / "000002.json").unlink()
    assert audit.main([str(out)]) == 0
    assert "shards 4, waiting 1; translations 42: kept 0, dropped 0, failed" in capsys.readouterr().out
    assert run() == 0
    again = times(out / "labels")
    assert {name for name in made if again[name] != made[name]} == {"part-000002.parquet"}

    units(tmp_path / "units", 2, 3)
    assert run() == 0  # done before, but the folder has grown
    grown = times(out / "labels")
    assert {name: grown[name] for name in again} == again
    assert set(grown) - set(again) == {"part-000004.parquet"}
    assert audit.main([str(out)]) == 0
    told = capsys.readouterr().out
    assert "shards 5, waiting 0; translations 51: " in told  # each file has one row without text
    assert "missing 0, duplicate 0, not planned 0" in told
    found = json.loads((out / "audit.json").read_text())
    assert sum(found["kept"].values()) + sum(found["dropped"].values()) + sum(found["failed"].values()) == 51
    assert found["failed"]["no text"] == 3
    assert (out / "fingerprint.json").exists()
    assert status.main([str(out)]) == 0
    assert "pseudo_label: complete" in capsys.readouterr().out

    table = labels.read(str(out), 1)
    pq.write_table(table.slice(1), out / "labels" / "part-000001.parquet")
    assert audit.main([str(out)]) == 1
    assert "missing 1, duplicate 0, not planned 0: u0-8 → de" in capsys.readouterr().out


def test_rows_that_name_no_language_are_in_the_one_that_is_said_for_all(ray_session, tmp_path, run, capsys):
    for part, count in enumerate((18, 6)):
        units(tmp_path / "units", part, count, language=None)
    threshold = ["quality.model=''", "quality.python=''"]
    assert run("source_language=en", *threshold) == 0
    kept = [row for path in sorted((tmp_path / "out").glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert kept and {row["language"] for row in kept} == {"en"}
    assert {code for row in kept for code, _ in row["translations"]} == {"de", "fr"}
    assert audit.main([str(tmp_path / "out")]) == 0
    capsys.readouterr()
    run(f"output={tmp_path}/other", *threshold)
    assert "no language, which source_language would say" in capsys.readouterr().out
    assert run("source_language=xx", *threshold, "--dry-run") == 2
