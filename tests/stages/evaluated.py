"""What the tests of generate, score and evaluate share."""

import json

from spire_ray.settings import GenerateSettings


def settings(data, **more):
    return GenerateSettings(output="", data=data, models=(), **more)


def manifest(folder, rows):
    path = folder / "manifest.jsonl"
    path.write_text(
        "".join(json.dumps({"audio_filepath": "a.wav", "duration": 1.0, "split": "test"} | row) + "\n" for row in rows)
    )
    return str(path)


def results(tmp_path, folder="out"):
    return json.loads((tmp_path / folder / "results.json").read_text())


def times(tmp_path):
    return {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "hypotheses").rglob("part-*.parquet")}
