"""The label job from `s3://` to `s3://`: a server that fails now and then, what is not there, and what a killed job leaves."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray import cli
from spire_ray.audio import decode
from spire_ray.core import lock, storage, tables
from spire_ray.manifest import reader, recording, writer
from spire_ray.manifest.schema import MANIFEST
from spire_ray.settings import LabelSettings, LicenseSettings
from spire_ray.shards import decoding, marks, planning
from spire_ray.stages import label

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
CLIPS = 12


@pytest.fixture
def corpus(s3, tiny_codebook):
    """Clips, one of them missing, a manifest and a codebook on S3."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(CLIPS):
        clip = io.BytesIO()
        soundfile.write(clip, draw.standard_normal(8_000) / 8, 16_000, format="FLAC")
        if number != 3:
            storage.write_bytes(f"s3://spire/corpus/{number}.flac", clip.getvalue())
        rows.append({"utt_id": f"u{number}", "audio_filepath": f"{number}.flac", "duration": 0.5})
    storage.write_bytes("s3://spire/corpus/m.jsonl", "\n".join(map(json.dumps, rows)).encode())
    tiny_codebook.save("s3://spire/codebook")
    return "s3://spire/corpus/m.jsonl"


def test_a_job_from_s3_to_s3_through_requests_that_fail(s3, corpus):
    flaky, _ = s3
    flaky.every = 5
    job = LabelSettings(manifest=corpus, codebook="s3://spire/codebook", output="s3://spire/units", shard_seconds=2.0)
    decode_shard, actor = decoding.Decode({}, 10.0), label.LabelShard(job)
    for shard in planning.plan(corpus, {}, job.output, job.shard_seconds):
        actor(decode_shard(pa.Table.from_pylist([vars(shard)])))
    assert flaky.refused > 5
    rows = tables.read(job.output).to_pylist()
    assert [row["utt_id"] for row in rows] == [f"u{n}" for n in range(CLIPS)]
    assert [row["error"] for row in rows if row["error"]] == ["no such key"]
    assert marks.total(marks.read(job.output)).rejected == {"no such key": 1}


def test_a_corpus_is_fetched_to_s3_and_labelled_there(s3, tmp_path, tiny_codebook):
    from spire_ray.corpora import check, fetch
    from spire_ray.corpora.catalogue import corpus
    from spire_ray.corpora.fetch import Recipe

    sound = io.BytesIO()
    soundfile.write(sound, np.random.default_rng(0).standard_normal(48_000) / 8, 16_000, format="FLAC")
    segments = tmp_path / "en" / "de" / "train"
    segments.mkdir(parents=True)
    (tmp_path / "en" / "audios").mkdir()
    (tmp_path / "en" / "audios" / "speech.m4a").write_bytes(sound.getvalue())
    for name, lines in (("lst", "speech 0.0 1.5\nspeech 1.5 3.0\n"), ("en", "One.\nTwo.\n"), ("de", "Eins.\nZwei.\n")):
        (segments / f"segments.{name}").write_text(lines)
    accepted = LicenseSettings(accept=("cc-by-nc-4.0",))
    recipe = Recipe(corpora=("europarl-st",), local={"europarl-st": str(tmp_path)}, license=accepted)
    assert fetch.fetch(recipe, "s3://spire/corpora") == {"europarl-st": {"rows": 2, "refused": 0}}
    place = "s3://spire/corpora/europarl-st"
    assert check.check(corpus("europarl-st"), place).startswith("europarl-st: 2 rows, 0.0 h")
    tiny_codebook.save("s3://spire/codebook")
    job = LabelSettings(manifest=place, codebook="s3://spire/codebook", output="s3://spire/units", shard_seconds=60.0)
    decode_shard, actor = decoding.Decode({}, 10.0), label.LabelShard(job)
    for shard in planning.plan(place, {}, job.output, job.shard_seconds):
        actor(decode_shard(pa.Table.from_pylist([vars(shard)])))
    rows = tables.read(job.output).to_pylist()
    assert [(row["status"], row["text"], row["translations"]) for row in rows] == [
        ("labelled", "One.", [("de", "Eins.")]), ("labelled", "Two.", [("de", "Zwei.")]),
    ]  # fmt: skip


def test_a_cut_of_a_recording_on_s3_does_not_fetch_all_of_it(s3, monkeypatch):
    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(0).standard_normal(16_000 * 300) / 8, 16_000, format="WAV", subtype="FLOAT")
    storage.write_bytes("s3://spire/long.wav", content.getvalue())
    monkeypatch.setattr("s3fs.S3FileSystem.default_block_size", 1 << 18)
    fetched = []
    import s3fs

    original = s3fs.core._fetch_range
    monkeypatch.setattr(
        s3fs.core,
        "_fetch_range",
        lambda fs, b, k, v, start, end, **o: fetched.append(end - start) or original(fs, b, k, v, start, end, **o),
    )
    assert len(decode.load("s3://spire/long.wav", offset=100.0, duration=1.0)) == 16_000
    assert 0 < sum(fetched) < len(content.getvalue()) / 4


def test_tars_and_parquet_are_read_where_they_lie(s3, corpus):
    table = reader.read(corpus)
    whole = table.filter(pa.array([row != "u3" for row in table["utt_id"].to_pylist()]))
    writer.write("s3://spire/tars/x.tar", [whole], "webdataset")
    rows = reader.read("s3://spire/tars/x-{000000..000000}.tar").to_pylist()
    assert [len(decode.load(recording.source(row["audio"]))) for row in rows] == [8_000] * (CLIPS - 1)
    writer.write("s3://spire/m.parquet", [table], "parquet")
    assert reader.rows("s3://spire/m.parquet", {}, 4, 2)["utt_id"].to_pylist() == ["u4", "u5"]
    assert reader.read("s3://spire/m.parquet").schema == MANIFEST


def test_a_second_writer_on_s3_is_refused(s3):
    with lock.held("s3://spire/out"):
        assert not storage.create("s3://spire/out/_lock/000001.json", b"{}")
        with pytest.raises(ValueError, match="is writing there"), lock.held("s3://spire/out"):
            pass
    assert not storage.exists("s3://spire/out/_lock")


@pytest.mark.parametrize("wrong", [{"output": "s3://absent/units"}, {"manifest": "s3://absent/m.jsonl"}])
def test_a_wrong_bucket_is_refused_with_one_line(wrong, s3, corpus, tmp_path, capsys):
    fields = {"stage": "label", "manifest": corpus, "codebook": "s3://spire/codebook", "output": "s3://spire/units"}
    (tmp_path / "label.yaml").write_text(json.dumps({**fields, **wrong, "tracking": {"enabled": False}}))
    assert cli.main(["label", "--config", str(tmp_path / "label.yaml")]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith("label: error: ") and ("bucket" in told[0] or "not found" in told[0])


LARGE = bytes(120 << 20)
"""s3fs by itself makes several parts of it."""


def test_what_is_written_whole_is_one_request_however_large(s3):
    import fsspec

    flaky, _ = s3
    before = flaky.uploads
    storage.write_bytes("s3://spire/large", LARGE)
    assert storage.read_bytes("s3://spire/large", len(LARGE) - 2) == bytes(2)
    assert flaky.uploads == before
    fsspec.filesystem("s3").pipe_file("spire/large", LARGE)
    assert flaky.uploads == before + 1


def kill_in_an_upload(client, uri):
    """A process that writes a file which is larger than any of this job's, killed while its parts are on the way."""
    program = f"from spire_ray.core import storage\nwith storage.new_file({uri!r}) as file: file.write(bytes({300 << 20}))"
    writer = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    while not (found := client.list_multipart_uploads(Bucket="spire").get("Uploads", [])):
        assert writer.poll() is None
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert [uri.endswith(upload["Key"]) for upload in found] == [True]


def test_a_killed_job_leaves_no_upload_and_is_gone_on_from_through_requests_that_fail(s3, corpus, tmp_path):
    flaky, client = s3
    flaky.every = 7
    fields = {"stage": "label", "manifest": corpus, "codebook": "s3://spire/codebook", "output": "s3://spire/units"}
    (tmp_path / "label.yaml").write_text(json.dumps({**fields, "shard_seconds": 0.4, "tracking": {"enabled": False}}))
    command = [sys.executable, "jobs/label.py", "--config", str(tmp_path / "label.yaml")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment)
    while len(marks.done("s3://spire/units")) < 3:
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    time.sleep(3)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="spire")
    kill_in_an_upload(client, "s3://spire/units/large")
    others = client.create_multipart_upload(Bucket="spire", Key="units-of-another-job/x")["UploadId"]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    left = client.list_multipart_uploads(Bucket="spire")["Uploads"]
    assert [upload["UploadId"] for upload in left] == [others]
    client.abort_multipart_upload(Bucket="spire", Key="units-of-another-job/x", UploadId=others)
    assert flaky.refused > 20
    total = marks.total(marks.read("s3://spire/units"))
    assert (total.rows, total.rejected) == (CLIPS, {"no such key": 1})
    assert pq.read_schema(io.BytesIO(storage.read_bytes("s3://spire/units/part-000000.parquet"))).names[0] == "utt_id"
