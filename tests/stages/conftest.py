"""A test set of units, and a function that evaluates."""

import json

import pyarrow as pa
import pytest
import yaml

from spire_ray import cli
from spire_ray.core import tables
from spire_ray.manifest.schema import UNITS
from spire_ray.stages import generate


@pytest.fixture
def units(tmp_path, tiny_codebook):
    """Three parts of ten rows whose ids are shuffled; every third row is rejected, every second one is of the test split."""
    folder = tmp_path / "units"
    for part in range(3):
        rows = [
            {
                "utt_id": f"u{n * 7 % 10}{part}",
                "text": "the dog",
                "language": "en",
                "translations": [("de", "der Hund")] if n else [],
                "units": [1, 2, n],
                "durations": [1, 3, 1],
                "status": "labelled" if n % 3 else "rejected",
                "split": "test" if n % 2 else "train",
            }
            for n in range(10)
        ]
        tables.write(f"{folder}/part-{part:06d}.parquet", pa.Table.from_pylist(rows, UNITS))
    (folder / "fingerprint.json").write_text(json.dumps(tiny_codebook.fingerprint.to_dict()))
    return str(folder)


@pytest.fixture
def run(tmp_path, tiny_model, monkeypatch):
    """A function: stage, test set and tasks → exit status; the output is `tmp_path/out`. The models are asked in this process."""

    def ask_here(job, settings, todo):
        worker = generate.AskShard(settings)
        for row in todo:
            worker(pa.Table.from_pylist([row]))

    monkeypatch.setattr(generate, "_ask", ask_here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def evaluated(stage, data, tasks=("asr",), form="", **more):
        config = {
            "stage": stage, "output": str(tmp_path / "out"), "data": data, "max_new_tokens": 6, "rows_per_shard": 4,
            "models": [{"name": "m", "model": tiny_model, "tasks": list(tasks), "format": form}], "tracking": {"enabled": False},
            "bootstrap": 50, **more,
        }  # fmt: skip
        if stage == "generate":
            del config["bootstrap"]
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        return cli.main([stage, "--config", str(tmp_path / "c.yaml")])

    return evaluated
