"""One's own data, all of it on S3: prepared, labelled with noisy copies, looked at, mended, tried again, packed for others."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from spire_ray import cli
from spire_ray.core import storage, tables
from spire_ray.packs.pack import Pack
from spire_ray.shards import marks

pytestmark = pytest.mark.long
ROOT = "s3://spire/runs"


@pytest.fixture
def corpus(s3, tmp_path, tiny_codebook, monkeypatch):
    """Twelve clips of a NeMo manifest; the fourth is not there yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    draw = np.random.default_rng(0)

    def put(number):
        clip = io.BytesIO()
        soundfile.write(clip, draw.standard_normal(8_000) / 8, 16_000, format="FLAC")
        storage.write_bytes(f"s3://spire/corpus/{number}.flac", clip.getvalue())

    rows = [
        {"utt_id": f"u{n}", "audio_filepath": f"{n}.flac", "duration": 0.5, "text": f"<um> The dog {n}", "split": "train"}
        for n in range(12)
    ]
    for number in range(12):
        if number != 3:
            put(number)
    storage.write_bytes("s3://spire/corpus/m.jsonl", "\n".join(map(json.dumps, rows)).encode())
    storage.write_bytes("s3://spire/corpus/rules.yaml", b"- {delete: '<[^>]*>'}\n- {casing: lower}\n")
    tiny_codebook.save("s3://spire/codebook")
    return put


@pytest.fixture
def recipe(tmp_path, tiny_model):
    """A function that runs it with overrides; returns the exit status."""
    steps = {
        "prepared": {"stage": "prepare", "manifest": "s3://spire/corpus/m.jsonl", "shard_seconds": 3.0,
                     "transcripts": {"rules": "s3://spire/corpus/rules.yaml"}},
        "units": {"stage": "label", "manifest": "{root}/prepared", "codebook": "s3://spire/codebook", "shard_seconds": 3.0,
                  "augment": {"copies": ["babble=5", "telephone=8"]}},
        "pack": {"stage": "pack", "model": tiny_model, "sequence_length": 128, "to": "jsonl", "balance": {"by": "language"},
                 "sources": [{"task": "asr", "data": "{root}/units", "source_language": "en", "format": "it"}]},
    }  # fmt: skip
    common = {"tracking": {"enabled": False}}
    given = [{"name": name, "settings": common | {"output": f"{{root}}/{name}"} | step} for name, step in steps.items()]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"stage": "run", "title": "own", "root": ROOT, "steps": given}))

    def run(*overrides):
        command = [sys.executable, "-m", "spire_ray", "run", str(tmp_path / "recipe.yaml"), *overrides]
        return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)

    return run


def test_from_a_manifest_to_a_pack_and_what_was_missing_after_it_is_put_there(corpus, recipe, capsys):
    done = recipe()
    assert done.returncode == 0, done.stderr
    assert "rejected 1: no such key" in done.stdout and "h labelled" in done.stdout and "ETA" in done.stdout
    rows = {row["utt_id"]: row for row in tables.read(f"{ROOT}/units").to_pylist()}
    assert len(rows) == 11 * 3 and rows["u5~babble1"]["text"] == "the dog 5" == rows["u5"]["text"]
    assert Pack(f"{ROOT}/pack").index["documents"] == 33
    lines = [json.loads(line) for line in storage.read_bytes(f"{ROOT}/pack/jsonl/chat-00000.jsonl").splitlines()]
    assert len(lines) == 33 and lines[0]["messages"][1]["content"].startswith("the dog")
    assert "## Preparation" in storage.read_bytes(f"{ROOT}/pack/card.md").decode()
    assert cli.main(["status", f"{ROOT}/prepared"]) == 0 and "rejected 1: no such key" in capsys.readouterr().out
    assert cli.main(["audit", f"{ROOT}/units"]) == 0
    assert cli.main(["inspect", f"{ROOT}/units", "--page", "s3://spire/page.html", "--rows", "4"]) == 0
    assert storage.read_bytes("s3://spire/page.html").count(b"<audio ") == 4
    first = {number: mark.at for number, mark in marks.by_shard(f"{ROOT}/units", marks.Mark).items()}
    corpus(3)
    again = recipe("prepared.retry=no such key")
    assert again.returncode == 2  # the pack alone is out of date, and says so
    assert "output=s3://spire/runs/pack: was made with other inputs (sources.0.data" in again.stderr
    now = {number: mark.at for number, mark in marks.by_shard(f"{ROOT}/units", marks.Mark).items()}
    assert len(now) == len(first) + 1 and first.items() <= now.items()  # nothing else was labelled again
    new = {row["utt_id"] for row in tables.read(f"{ROOT}/units").to_pylist()} - rows.keys()
    assert new == {"u3", "u3~babble1", "u3~telephone1"}
