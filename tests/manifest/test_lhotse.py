"""Manifests of Lhotse: Shar, cuts with transforms, channels."""

import numpy as np
import pytest
import soundfile
import soxr

from spire_ray.manifest.reader import read
from tests.manifest.what_people_have import clip, heard, lines, tar_of, wav


def test_lhotse_shar(tmp_path):
    for number in range(2):
        ids = [f"c{number}{n}" for n in range(2)]
        tar_of(
            tmp_path / f"recording.{number:06d}.tar",
            {name: data for n, key in enumerate(ids) for name, data in ((f"{key}.flac", wav(0.5 + n)), (f"{key}.json", b"{}"))},
        )
        cuts = [
            {"id": key, "type": "MonoCut", "start": 7.0, "duration": 0.5 + n, "channel": 0, "supervisions": [{"text": key}]}
            for n, key in enumerate(ids)
        ]
        lines(tmp_path / f"cuts.{number:06d}.jsonl", cuts)
    rows = read(str(tmp_path)).to_pylist()
    assert [(row["utt_id"], row["text"], len(heard(row))) for row in rows] == [
        (f"c{a}{b}", f"c{a}{b}", 8_000 + 16_000 * b) for a in range(2) for b in range(2)
    ]


def cut(path, **changed):
    recorded = {
        "id": "r", "sources": [{"type": "file", "channels": [0, 1], "source": str(path)}], "sampling_rate": 16_000,
        "num_samples": 64_000, "duration": 4.0, "channel_ids": [0, 1],
    }  # fmt: skip
    recorded |= changed.pop("recording", {})
    return {"id": "c", "type": "MonoCut", "start": 1.0, "duration": 1.0, "channel": 1, "recording": recorded, **changed}


def test_lhotse_transforms_are_applied_and_others_refused_by_name(tmp_path):
    whole = clip(tmp_path / "r.wav", 4, channels=2)
    speed = [{"name": "Speed", "kwargs": {"factor": 1.1}}]
    given = cut(tmp_path / "r.wav", recording={"transforms": speed, "duration": 4 / 1.1, "num_samples": round(64_000 / 1.1)})
    [row] = read(lines(tmp_path / "cuts.jsonl", [given])).to_pylist()
    assert (row["offset"], row["duration"]) == (1.0, 1.0)
    expected = soxr.resample(whole[round(1.1 * 16_000) : round(2.2 * 16_000), 1], 16_000 * 1.1, 16_000)
    assert len(heard(row)) == 16_000 and np.abs(heard(row)[500:-500] - expected[500:15_500]).max() < 1e-3
    volume = cut(tmp_path / "r.wav", recording={"transforms": [{"name": "Volume", "kwargs": {"factor": 0.5}}]})
    [row] = read(lines(tmp_path / "cuts.jsonl", [volume])).to_pylist()
    assert np.allclose(heard(row), whole[16_000:32_000, 1] / 2, atol=1e-6)
    for name in ("ReverbWithImpulseResponse", "Narrowband", "DereverbWPE"):
        other = cut(tmp_path / "r.wav", recording={"transforms": [{"name": name, "kwargs": {"rir": None}}]})
        with pytest.raises(ValueError, match=rf"line 1: the transform {name} is not applied"):
            read(lines(tmp_path / "cuts.jsonl", [other]))


def test_channels_of_lhotse_recordings(tmp_path):
    whole = clip(tmp_path / "r.wav", 4, channels=2)
    apart = [{"type": "file", "channels": [n], "source": f"{tmp_path}/{n}.wav"} for n in (0, 1)]
    for n in (0, 1):
        soundfile.write(tmp_path / f"{n}.wav", whole[:, n], 16_000, subtype="FLOAT")
    cuts = [
        cut(tmp_path / "r.wav"),
        cut(tmp_path / "r.wav", id="all", type="MultiCut", channel=[0, 1]),
        cut(tmp_path / "r.wav", id="apart", recording={"sources": apart}),
    ]
    one, both, other = read(lines(tmp_path / "cuts.jsonl", cuts)).to_pylist()
    assert np.array_equal(heard(one), whole[16_000:32_000, 1]) and np.array_equal(heard(other), heard(one))
    assert np.allclose(heard(both), whole[16_000:32_000].mean(1), atol=1e-6)
    mixed = {"id": "m", "type": "MixedCut", "tracks": []}
    command = cut("x", recording={"sources": [{"type": "command", "channels": [0, 1], "source": "sox x"}]})
    for given, reason in [(mixed, "a MixedCut without a recording"), (command, "must be a file, not of the type command")]:
        with pytest.raises(ValueError, match=f"line 1: .*{reason}"):
            read(lines(tmp_path / "cuts.jsonl", [given]))
