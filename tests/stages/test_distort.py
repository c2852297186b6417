"""A test set under noise is a test set: the same rows, in a folder for each condition."""

import json

import numpy as np
import soundfile

from spire_ray import cli
from spire_ray.manifest import reader


def test_every_condition_is_a_manifest_of_the_same_rows(ray_session, tmp_path, capsys):
    lines = []
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", np.random.default_rng(n).standard_normal(8_000 + n) / 9, 16_000)
        row = {"utt_id": f"u{n}", "audio_filepath": f"{n}.wav", "duration": 0.5, "text": "a b", "language": "en", "split": "test"}
        lines.append(json.dumps(row | {"translations": {"de": "c"}}))
    lines.append(json.dumps({"utt_id": "gone", "audio_filepath": "gone.wav", "duration": 1.0, "split": "test"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    config = f"{{stage: distort, output: {tmp_path}/out, data: {tmp_path}/m.jsonl, conditions: [noise=10, speed=2]}}"
    assert cli.main(["distort", "--config", config, "tracking.enabled=false"]) == 0
    for condition, samples in (("noise=10", 8_000), ("speed=2", 4_000)):
        rows = reader.read(str(tmp_path / "out" / condition / "manifest.jsonl")).to_pylist()
        assert [row["utt_id"] for row in rows] == ["u0", "u1", "u2", "u3"] and dict(rows[0]["translations"]) == {"de": "c"}
        assert abs(soundfile.info(rows[0]["audio"]["path"]).frames - samples) < 3
        assert json.loads((tmp_path / "out" / condition / "_done.json").read_text())["rejected"] == {"gone": "no such file"}
    assert cli.main(["distort", "--config", config.replace("noise=10", "fog=1"), "tracking.enabled=false"]) == 2
    assert "conditions: fog=1: known are" in capsys.readouterr().err
