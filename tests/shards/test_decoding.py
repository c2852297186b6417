"""A decoded shard travels as one row, and nothing of it is lost or copied."""

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.audio import decode, sound
from spire_ray.audio.source import Unreachable
from spire_ray.manifest.schema import MANIFEST
from spire_ray.shards import decoding
from spire_ray.shards.decoded import Decoded
from spire_ray.shards.decoding import Decode

ROWS = pa.schema([field for field in MANIFEST if field.name != "audio"])
PCM = st.lists(st.integers(-32_768, 32_767), max_size=20).map(lambda samples: np.array(samples, np.int16))


@given(samples=st.lists(PCM, min_size=1, max_size=8), number=st.integers(0, 10**6))
def test_a_shard_comes_out_as_it_went_in(samples, number):
    rows = pa.Table.from_pylist([{"utt_id": f"u{n}", "text": "tea — thé"} for n in range(len(samples))], ROWS)
    errors = ["" if len(clip) else "no samples" for clip in samples]
    there = Decoded(number, rows, samples, errors).to_table()
    back = Decoded.from_table(there)
    assert (back.shard, back.rows, back.errors) == (number, rows, errors)
    assert all(np.array_equal(clip, twin) for clip, twin in zip(samples, back.samples, strict=True))
    buffers = [buffer for buffer in there["pcm"].chunk(0).buffers() if buffer]
    places = [range(buffer.address, buffer.address + buffer.size) for buffer in buffers]
    assert all(any(clip.ctypes.data in place for place in places) for clip in back.samples if len(clip))


def test_rows_too_short_for_a_frame_are_rejected_with_both_numbers():
    shard = Decoded(0, ROWS.empty_table(), [np.zeros(n, np.int16) for n in (399, 400, 0)], ["", "", "empty file"])
    shard.refuse_shorter(400)
    assert shard.errors == ["shorter than one frame: 399 of 400 samples", "", "empty file"]


@pytest.mark.parametrize("gap", [1.0, 3.3])
@pytest.mark.parametrize(
    "form",
    [
        {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5},
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "FLAC"},
        {"format": "WAV", "subtype": "GSM610"},
    ],
)
def test_parts_of_one_recording_share_its_decoder(form, gap, tmp_path, monkeypatch):
    samples = np.random.default_rng(0).standard_normal(16_000 * 60).astype(np.float32) / 8
    soundfile.write(tmp_path / "long", samples, 16_000, **form)
    whole = decode.load(str(tmp_path / "long"))
    starts = [gap * float(start) for start in np.random.default_rng(1).permutation(int(55 / gap))]
    rows = [
        {"utt_id": f"u{n}", "audio": {"path": f"{tmp_path}/long", "bytes": None}, "offset": start, "duration": 2.0}
        for n, start in enumerate(starts)
    ]
    opened, original = [], sound.opened
    monkeypatch.setattr(sound, "opened", lambda source, **more: opened.append(source) or original(source, **more))
    made = Decode({}, 60.0).clips([dict.fromkeys(ROWS.names) | row for row in rows])
    assert len(opened) == 1
    for start, [(row, clip, error)] in zip(starts, made, strict=True):
        place = round(start * 16_000)
        assert not error and row["offset"] == start
        assert np.abs(clip / 32768 - whole[place : place + 32_000]).max() < 1e-3


def test_a_part_may_end_a_little_behind_its_recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 16_000)
    row = {"utt_id": "u", "audio": {"path": f"{tmp_path}/a.wav", "bytes": None}, "offset": 0.5, "duration": 0.7}
    assert [error for *_, error in Decode({}, 60.0, tolerance=0.25).clips([row])[0]] == [""]
    assert Decode({}, 60.0).clips([row])[0][0][2].startswith("truncated: ")


def test_rows_that_cannot_be_reached_are_waited_for_so_long_and_then_have_the_reason_of_the_last(monkeypatch):
    now, asked = [0.0], []

    def opened(source, *_):
        asked.append(source)
        now[0] += 50.0
        raise Unreachable("no answer")

    monkeypatch.setattr(decode, "opened", opened)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    rows = [dict.fromkeys(MANIFEST.names) | {"utt_id": f"u{n}", "audio": {"bytes": None, "path": str(n)}} for n in range(10)]
    made = Decode({}, 10.0).clips(rows)
    assert [error for [(_, _, error)] in made] == ["unreachable: no answer"] * 10
    assert asked == ["0", "1", "2"] and decoding._PATIENCE == 120


def test_whatever_a_decoder_raises_is_the_reason_of_its_row_alone(tmp_path, monkeypatch):
    original = decode.pcm

    def raising(opened, *more):
        if opened.frames == 8_000:
            raise TypeError("no\nsuch thing")
        return original(opened, *more)

    monkeypatch.setattr(decode, "pcm", raising)
    rows = []
    for name, samples in (("a", 16_000), ("b", 8_000)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1), 16_000)
        rows.append(dict.fromkeys(ROWS.names) | {"utt_id": name, "audio": {"path": f"{tmp_path}/{name}.wav", "bytes": None}})
    assert [error for [(*_, error)] in Decode({}, 60.0).clips(rows)] == ["", "not decodable: TypeError: no such thing"]
