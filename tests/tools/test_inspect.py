"""What `spire inspect` shows and writes."""

import json

import numpy as np
import soundfile

from spire_ray.core import command
from spire_ray.tools import inspect


def test_audio_that_cannot_be_read_is_told_by_row_and_the_others_are_written(tmp_path, capsys):
    soundfile.write(tmp_path / "good.wav", np.zeros(16_000), 16_000)
    (tmp_path / "text.wav").write_text("not audio")
    files = {"a": "good.wav", "b": "none.wav", "c": "text.wav", "d": "good.wav"}
    rows = [{"utt_id": utt_id, "audio_filepath": file, "duration": 1.0} for utt_id, file in files.items()]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips = tmp_path / "clips"
    assert inspect.main([str(tmp_path / "m.jsonl"), "--wav", str(clips)]) == command.USER_ERROR
    assert sorted(path.name for path in clips.iterdir()) == ["a.wav", "d.wav"]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "inspect: error: b: no such file"
    assert second.startswith("inspect: error: c: not readable as audio")
