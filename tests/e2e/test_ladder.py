"""One recipe from a manifest of recordings to a served model, with stand-ins of the true classes in place of the real models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.model import families
from tests.units import tiny_encoders

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long
TOY = [
    *("codebook.clusters=16", "codebook.encoder.layer=2", "codebook.hours=1", "codebook.iterations=3"),
    *("cpt.pack.sequence_length=256", "it.pack.sequence_length=256"),
    *("cpt.train.expected.sequence_length=256", "it.train.expected.sequence_length=256"),
    *("cpt.train.training.global_batch_tokens=512", "it.train.training.global_batch_tokens=512"),
    *("cpt.train.threads=1", "it.train.threads=1", "evaluate.max_new_tokens=8", "serve.max_new_tokens=8"),
]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """24 clips of 1 to 2 s with transcripts, as a NeMo manifest."""
    folder = tmp_path_factory.mktemp("recordings")
    draw, lines = np.random.default_rng(0), []
    for n in range(24):
        seconds = float(draw.uniform(1, 2))
        soundfile.write(folder / f"{n}.flac", draw.standard_normal(round(16_000 * seconds)) / 8, 16_000)
        row = {"audio_filepath": f"{n}.flac", "duration": round(seconds, 3), "text": "the dog sleeps", "language": "en"}
        lines.append(json.dumps({**row, "split": "test" if n < 4 else "train"}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def spire(*arguments, cwd=ROOT):
    found = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    found |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", "spire_ray", *arguments], cwd=cwd, capture_output=True, text=True, env=found)


@pytest.mark.parametrize(("encoder", "family"), [("whisper", "smollm2"), ("large", "qwen")])
def test_from_recordings_to_a_served_model(encoder, family, recordings, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    encoders = tiny_encoders.save_all(tmp_path / "encoders")
    given = [f"root={tmp_path}/run", f"manifest={recordings}/manifest.jsonl", f"encoder={encoders[encoder]}"]
    given.append(f"model={families.make(family, tmp_path / 'model')}")
    recipe = ["run", "configs/ladder/laptop.yaml", *given, *TOY]
    planned = spire(*recipe, "--dry-run", "--strict")
    assert planned.returncode == 0, planned.stderr
    assert "model: " in planned.stdout and "made by it.export" in planned.stdout
    done = spire(*recipe)
    assert done.returncode == 0, done.stderr[-4000:]
    check = json.loads((tmp_path / "run" / "serve" / "check.json").read_text())
    assert check["reference"] == "the dog sleeps" and isinstance(check["transcript"], str)
    heard = spire("transcribe", str(recordings / "0.flac"), "--model", f"{tmp_path}/run/it/model", "--max-new-tokens", "8")
    assert heard.returncode == 0 and heard.stdout.startswith(f"{recordings}/0.flac\t"), heard.stderr


def test_without_a_manifest_it_says_what_is_missing(tmp_path):
    done = spire("run", "configs/ladder/laptop.yaml", f"root={tmp_path}/run")
    assert done.returncode == 2
    assert done.stderr == ("run: error: codebook.manifest=my/manifest.jsonl: not found, and no step makes it (and 2 more)\n")
