"""What changed, what was mended, what could not be reached: a label job goes on with it, and says when it has failed."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray import cli
from spire_ray.core import storage, tables
from spire_ray.manifest import reader
from spire_ray.shards import decoding, marks
from spire_ray.tools._audit_units import audit_folder

DRAW = np.random.default_rng(0)


def clip(path, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, DRAW.standard_normal(round(16_000 * seconds)) / 8, 16_000)


@pytest.fixture
def job(ray_session, tmp_path, tiny_codebook):
    """Twelve clips, their manifest, and a function that labels them: settings → status."""
    tiny_codebook.save(str(tmp_path / "codebook"))
    rows = [{"utt_id": f"u{n}", "audio_filepath": f"wav/{n}.wav", "duration": 0.5, "text": f"t{n}"} for n in range(12)]
    for n in range(12):
        clip(tmp_path / "wav" / f"{n}.wav")
    fields = {
        "stage": "label", "manifest": f"{tmp_path}/m.jsonl", "codebook": f"{tmp_path}/codebook", "output": f"{tmp_path}/units",
        "shard_seconds": 2.0, "tracking": {"enabled": False},
    }  # fmt: skip

    def run(*settings, **changed):
        lines = [json.dumps(row | changed.get(row["utt_id"], {})) for row in rows]
        (tmp_path / "m.jsonl").write_text("\n".join(lines))
        (tmp_path / "label.yaml").write_text(json.dumps(fields))
        return cli.main(["label", "--config", str(tmp_path / "label.yaml"), *settings])

    return run


def units(folder):
    return {row["utt_id"]: row for row in tables.read(f"{folder}/units").to_pylist()}


def when(folder):
    return {n: mark.at for n, mark in marks.by_shard(f"{folder}/units", marks.Mark).items()}


def test_a_corrected_transcript_reaches_the_units_without_labelling_again(job, tmp_path):
    assert job() == 0
    before, first = units(tmp_path), when(tmp_path)
    changed = {"text": "mended", "lang": "de", "translations": {"fr": "x"}, "speaker": "s", "split": "dev", "corpus": "c"}
    assert job(u5=changed) == 0
    now = units(tmp_path)
    assert now["u5"] == before["u5"] | {
        "text": "mended", "language": "de", "translations": [("fr", "x")], "speaker": "s", "split": "dev", "corpus": "c",
    }  # fmt: skip
    assert {key: row for key, row in now.items() if key != "u5"} == {key: row for key, row in before.items() if key != "u5"}
    assert when(tmp_path) == first
    assert job(u5=changed) == 0 and when(tmp_path) == first


def test_other_audio_inside_a_parquet_file_labels_its_shard_again_and_no_other(job, tmp_path, capsys):
    """The same ids, paths and durations: only the bytes tell. A text that changes beside them labels nothing again."""

    def run(**changed):
        sound = [(tmp_path / "wav" / f"{changed.get(f'u{n}', n)}.wav").read_bytes() for n in range(12)]
        rows = [
            {"utt_id": f"u{n}", "audio": {"bytes": audio, "path": None}, "duration": 0.5, "text": changed.get("text", "t")}
            for n, audio in enumerate(sound)
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet", row_group_size=5)
        return job(f"manifest={tmp_path}/m.parquet")

    assert run() == 0
    before, first = units(tmp_path), when(tmp_path)
    assert run(text="mended") == 0
    assert when(tmp_path) == first and {row["text"] for row in units(tmp_path).values()} == {"mended"}
    clip(tmp_path / "wav" / "other.wav")
    assert run(u5="other") == 0
    now, second = units(tmp_path), when(tmp_path)
    assert "of 3 shards 1 have other audio and are labelled again" in capsys.readouterr().out
    assert now["u5"]["units"] != before["u5"]["units"] and [n for n in first if second[n] != first[n]] == [1]
    assert {key: row["units"] for key, row in now.items() if key != "u5"} == {
        key: row["units"] for key, row in before.items() if key != "u5"
    }
    assert job(f"manifest={tmp_path}/m.parquet") == 0 and when(tmp_path) == second


def test_other_audio_labels_its_shard_again_and_no_other(job, tmp_path):
    assert job() == 0
    before, first = units(tmp_path), when(tmp_path)
    clip(tmp_path / "wav" / "other.wav")
    assert job(u5={"audio_filepath": "wav/other.wav"}) == 0
    now, second = units(tmp_path), when(tmp_path)
    assert now["u5"]["units"] != before["u5"]["units"]
    assert {key: row for key, row in now.items() if key != "u5"} == {key: row for key, row in before.items() if key != "u5"}
    assert [first[n] == second[n] for n in first] == [True, False, True]


def test_a_file_that_was_put_back_is_labelled_where_it_is_asked_for(job, tmp_path, capsys):
    for n in (3, 7):
        (tmp_path / "wav" / f"{n}.wav").rename(tmp_path / f"{n}.wav")
    (tmp_path / "wav" / "9.wav").write_text("no audio")
    assert job() == 0
    before = units(tmp_path)
    for n in (3, 7):
        (tmp_path / f"{n}.wav").rename(tmp_path / "wav" / f"{n}.wav")
    assert job() == 0
    assert units(tmp_path) == before
    assert job("retry=no file at all") == 2
    assert "retry=no file at all: no row has that reason" in capsys.readouterr().err
    assert job("retry=no such file") == 0
    now = units(tmp_path)
    assert [now[key]["status"] for key in ("u3", "u7", "u9")] == ["labelled", "labelled", "rejected"]
    assert {key: row for key, row in now.items() if key not in ("u3", "u7")} == {
        key: row for key, row in before.items() if key not in ("u3", "u7")
    }
    clip(tmp_path / "wav" / "9.wav")
    assert job("retry=rejected") == 0
    found = audit_folder(f"{tmp_path}/units")
    assert (found.labelled, found.faults, found.rejected) == (12, 0, {})
    total = marks.total(marks.read(f"{tmp_path}/units"))
    assert (total.rows, total.audio_seconds, total.rejected) == (12, 6.0, {})
    fresh = {key: row["units"] for key, row in now.items()}
    shutil.rmtree(tmp_path / "units")
    assert job() == 0
    assert {key: row["units"] for key, row in units(tmp_path).items() if key != "u9"} == {
        key: made for key, made in fresh.items() if key != "u9"
    }


@pytest.mark.long
def test_a_folder_that_was_not_mounted_is_tried_again_by_every_run(job, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(decoding, "_PAUSES", ())
    (tmp_path / "wav").rename(tmp_path / "away")
    assert job() == 2
    told = capsys.readouterr().err
    assert (
        f"3 of 3 shards are set aside: shard 0, rows 0 to 3 of {tmp_path}/units/_manifest/part-000000.parquet: 4 of 4 rows"
        in told
    )
    assert f"unreachable: no such file, nor its folder {tmp_path}/wav (on " in told
    assert not list((tmp_path / "units").glob("part-*")) and not (tmp_path / "units" / "_done").exists()
    assert storage.read_json(f"{tmp_path}/units/run.json")["status"] == "began"
    (tmp_path / "wav").mkdir()  # the mount point, and still no mount
    assert job() == 2
    (tmp_path / "wav").rmdir()
    (tmp_path / "away").rename(tmp_path / "wav")
    assert job() == 0
    assert {row["status"] for row in units(tmp_path).values()} == {"labelled"}


def test_more_rejected_rows_than_allowed_end_the_job_and_are_listed_as_a_manifest(job, tmp_path, capsys):
    for n in range(7):
        (tmp_path / "wav" / f"{n}.wav").write_text("no audio")
    assert job() == 2
    assert (
        "7 of 12 rows were rejected, most as 'not readable as audio': more than max_rejected_share=0.5" in capsys.readouterr().err
    )
    assert cli.main(["rejected", f"{tmp_path}/units"]) == 0
    told = capsys.readouterr()
    assert "rejected 7: not readable as audio" in told.err
    (tmp_path / "again.jsonl").write_text(told.out)
    listed = reader.read(f"{tmp_path}/again.jsonl").to_pylist()
    assert [(row["utt_id"], row["audio"]["path"], row["text"]) for row in listed] == [
        (f"u{n}", f"{tmp_path}/wav/{n}.wav", f"t{n}") for n in range(7)
    ]
    assert cli.main(["rejected", f"{tmp_path}/units", "--reason", "no such file"]) == 2
    assert cli.main(["rejected", f"{tmp_path}/units", "--to", f"{tmp_path}/again.parquet"]) == 0
    assert pq.read_table(tmp_path / "again.parquet")["utt_id"].to_pylist() == [f"u{n}" for n in range(7)]
    assert job("max_rejected_share=0.6") == 0


def test_what_is_heard_is_compared_with_what_the_manifest_says(job, tmp_path):
    assert job(u1={"duration": 1.2}, u2={"duration": 0.9}) == 0
    rows = units(tmp_path)
    assert rows["u1"]["error"] == "another length: 0.50 s are heard, the manifest says 1.20 s"
    assert rows["u2"]["status"] == "labelled"
    assert marks.total(marks.read(f"{tmp_path}/units")).rejected == {"another length": 1}


def test_a_rerun_that_is_refused_writes_nothing_and_a_failed_first_try_locks_nothing(job, tmp_path, capsys):
    assert job() == 0
    before = {path: path.read_bytes() for path in (tmp_path / "units").rglob("*") if path.is_file()}
    assert job(u2={"utt_id": "another"}) == 2
    assert "are not those that were planned" in capsys.readouterr().err
    changed = {path.name for path, content in before.items() if not path.exists() or path.read_bytes() != content}
    assert changed <= {"run.json"}
    shutil.rmtree(tmp_path / "units")
    assert job("silence=reject", u2={"utt_id": "u1"}) == 2
    assert job() == 0


def test_one_row_ends_as_a_rejected_row_whatever_it_says(job, tmp_path):
    (tmp_path / "wav" / "3.raw").write_bytes(DRAW.bytes(1000))
    rows = {
        "u1": {"offset": float("nan")},
        "u2": {"duration": float("nan")},
        "u3": {"audio_filepath": "wav/3.raw"},
        "u4": {"audio_filepath": "http://127.0.0.1:9/x.wav"},
        "u5": {"duration": -1.0},
        "u6": {"audio_filepath": None},
    }
    assert job("max_rejected_share=0.9", **rows) == 0
    found = {key: row["error"] for key, row in units(tmp_path).items() if row["error"]}
    assert set(found) == set(rows)
    assert found["u1"].startswith("offset is no number of seconds: ")
    assert found["u2"].startswith("duration is no number of seconds: ")
    assert found["u3"].startswith("not readable as audio")
    assert found["u4"] == "scheme not allowed: http, which storage.schemes does not name"
    assert found["u5"].startswith("negative duration: ")
    assert found["u6"] == "no path and no bytes"
