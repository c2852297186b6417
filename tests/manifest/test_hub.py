"""Data sets of the Hub by their id: read by Hugging Face's own library from a repository on this disk, without the network."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray import cli
from spire_ray.audio.decode import load
from spire_ray.core import command
from spire_ray.manifest import reader, recording
from spire_ray.manifest.formats import hub
from spire_ray.shards import planning

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URI = f"hf://datasets/org/talks@{COMMIT}"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An AudioFolder called org/talks, with two splits and columns of its own."""
    datasets = pytest.importorskip("datasets")
    for split, count in (("train", 3), ("test", 2)):
        folder = tmp_path / "org" / "talks" / split
        folder.mkdir(parents=True)
        lines = []
        for n in range(count):
            soundfile.write(folder / f"{n}.wav", np.full(1600 * (n + 1), 0.1), 16_000)
            lines.append(json.dumps({"file_name": f"{n}.wav", "sentence": f"{split} {n}", "locale": "de"}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(4000, 0.1), 16_000, format="FLAC")
    (tmp_path / "org" / "inside").mkdir()
    features = datasets.Features({"id": datasets.Value("string"), "audio": datasets.Audio()})
    row = {"id": "a", "audio": {"bytes": buffer.getvalue(), "path": "a.flac"}}
    table = pa.Table.from_pylist([row], features.arrow_schema)
    pq.write_table(table, tmp_path / "org" / "inside" / "train-00000-of-00001.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_every_split_is_streamed_with_its_audio(repository):
    rows = reader.read(URI, {"text": "sentence", "language": "locale"}).to_pylist()
    assert [(row["split"], row["text"], row["language"]) for row in rows if row["split"] == "test"] == [
        ("test", "test 0", "de"), ("test", "test 1", "de"),
    ]  # fmt: skip
    assert [row["utt_id"] for row in rows if row["split"] == "train"] == ["train#0", "train#1", "train#2"]
    assert [len(load(recording.source(row["audio"]))) for row in rows if row["split"] == "train"] == [1600, 3200, 4800]


def test_bytes_inside_parquet_files_come_as_they_are(repository):
    (row,) = reader.read(f"hf://datasets/org/inside@{COMMIT}").to_pylist()
    assert (row["utt_id"], row["split"], len(load(row["audio"]["bytes"]))) == ("a", "train", 4000)


def test_it_is_planned_as_parquet_with_the_audio_inside_and_converted(repository, tmp_path):
    columns = {"text": "sentence"}
    planned = planning.plan(URI, columns, f"{tmp_path}/out", 3600.0)
    assert sum(shard.rows for shard in planned) == 5
    assert planning.is_planned(URI, columns, f"{tmp_path}/out")
    assert cli.main(["manifest", URI, f"{tmp_path}/m.parquet", "text=sentence"]) == 0
    assert {row["text"] for row in reader.read(f"{tmp_path}/m.parquet").to_pylist()} == {
        "train 0", "train 1", "train 2", "test 0", "test 1",
    }  # fmt: skip


@pytest.mark.long  # it waits for a hub that is out of reach
def test_what_the_hub_does_not_have_is_one_line(repository, capsys):
    assert cli.main(["manifest", f"hf://datasets/org/other@{COMMIT}", "m.parquet"]) == command.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("manifest: error: manifest=hf://datasets/org/other@")


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    found = hub.importlib.util.find_spec
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name, *more: None if name == "datasets" else found(name, *more))
    assert cli.main(["manifest", URI, "m.parquet"]) == command.USER_ERROR
    assert capsys.readouterr().err == f"manifest: error: manifest={URI}: pip install 'spire-ray[hub]'\n"


@pytest.mark.parametrize("uri", ["hf://datasets/", "hf://datasets/a/b/data/x.parquet", "hf://datasets/a/b@"])
def test_what_is_no_id_is_refused(uri):
    with pytest.raises(ValueError, match="expected hf://datasets/ORG/NAME, with @REVISION and #CONFIG"):
        list(hub.rows(uri))


def test_a_dry_run_asks_no_hub(capsys, tmp_path):
    config = f"{{stage: label, manifest: {URI}, codebook: {tmp_path}, output: {tmp_path}/units}}"
    assert cli.main(["label", "--config", config, "--dry-run"]) == 0
    assert f"manifest: {URI} (an id of the Hub)" in capsys.readouterr().out


def test_a_revision_that_is_no_commit_is_asked_of_the_hub(monkeypatch):
    class Api:
        def dataset_info(self, name, revision):
            assert (name, revision) == ("org/talks", "v2")
            return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert hub.version("hf://datasets/org/talks@v2#de") == COMMIT == hub.version(URI)
