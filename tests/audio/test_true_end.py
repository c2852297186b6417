"""Healthy audio is heard to its true end, whatever its header says of its length."""

import io
import struct

import numpy as np
import pytest
import soundfile

from spire_ray.audio import cut, decode, probe
from spire_ray.audio.decode import AudioError
from spire_ray.audio.source import Unreachable

RATE = 16_000
DRAW = np.random.default_rng(0)
LOUD_AND_STILL = (DRAW.standard_normal(RATE * 24) / 8 * np.repeat([0, 0, 0, 1, 1, 0, 1, 1], RATE * 3)).astype(np.float32)


def encoded(samples, rate=RATE, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **form)
    return buffer.getvalue()


def mp3(samples=LOUD_AND_STILL, rate=RATE, mode="VARIABLE"):
    return encoded(samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)


def bare(data):
    """An MP3 without its first frame, which is no sound but says how many there are."""
    from spire_ray.audio import mpeg

    (start, size), *_ = mpeg._frames(data)
    return data[start + size :]


def in_wav(data, rate, channels=1):
    fmt = struct.pack("<HHIIHHH12x", 0x55, channels, rate, 8000, 1, 0, 12)
    body = b"WAVEfmt " + len(fmt).to_bytes(4, "little") + fmt + b"data" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + len(body).to_bytes(4, "little") + body


ID3 = b"ID3\x04\x00\x00\x00\x00\x07\x76" + bytes(1014)
FORMS = {
    "VBR": (lambda: mp3(), 24),
    "VBR without a header": (lambda: bare(mp3()), 24),
    "VBR without a header, tags around it": (lambda: ID3 + bare(mp3()) + b"TAG" + bytes(125), 24),
    "CBR without a header": (lambda: bare(mp3(mode="CONSTANT")), 24),
    "two MP3 joined": (lambda: mp3() + mp3(LOUD_AND_STILL[: RATE * 12]), 36),
    "two MP3 with tags joined": (lambda: ID3 + mp3() + ID3 + mp3(LOUD_AND_STILL[: RATE * 12]), 36),
    "two bare MP3 joined": (lambda: bare(mp3()) + bare(mp3()), 48),
    "MP3 in WAV": (lambda: in_wav(bare(mp3()), RATE), 24),
    "MP3 at 44.1 kHz": (lambda: bare(mp3(np.repeat(LOUD_AND_STILL, 3)[: 44_100 * 12], 44_100)), 12),
    "chained Vorbis": (lambda: encoded(LOUD_AND_STILL, format="OGG", subtype="VORBIS") * 2, 48),
    "chained Opus": (lambda: b"".join(encoded(LOUD_AND_STILL[: RATE * n], format="OGG", subtype="OPUS") for n in (3, 5, 2)), 10),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_healthy_file_is_heard_to_its_end(form, tmp_path):
    make, seconds = FORMS[form]
    data = make()
    (tmp_path / "clip").write_bytes(data)
    for source in (data, str(tmp_path / "clip")):
        assert len(decode.load(source)) / RATE == pytest.approx(seconds, abs=0.3)
        assert probe.probe(source).seconds == pytest.approx(seconds, abs=0.3)
    pieces = list(cut.pieces(data, 5.0))
    assert sum(len(piece) for _, piece in pieces) / RATE == pytest.approx(seconds, abs=0.3)


@pytest.mark.parametrize("form", ["VBR without a header", "two MP3 joined", "chained Vorbis", "chained Opus"])
def test_a_cut_is_the_slice_of_the_whole(form):
    data, seconds = FORMS[form][0](), FORMS[form][1]
    whole = decode.load(data)
    for begin in (1.0, seconds - 2.5):
        start = round(begin * RATE)
        assert np.abs(decode.load(data, begin, 2.0) - whole[start : start + 2 * RATE]).max() < 0.02


def test_what_is_heard_is_what_was_said():
    whole = decode.load(bare(mp3()))
    found = decode.load(mp3())
    lag = int(np.argmax(np.correlate(whole[RATE * 9 : RATE * 12], found[RATE * 9 + 4000 : RATE * 12 - 4000], "valid"))) - 4000
    assert 0 <= lag < 2000  # a header also says how much of the coder's own delay to leave out
    assert np.corrcoef(whole[RATE * 9 + lag : RATE * 24 + lag], found[RATE * 9 : RATE * 24])[0, 1] > 0.999


def test_half_an_mp3_is_truncated_and_parts_of_other_kinds_are_no_one_file():
    data = mp3()
    with pytest.raises(AudioError, match=r"^truncated: \d+ of \d+ frames$"):
        decode.load(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"^joined of several kinds: "):
        decode.load(bare(mp3()) + bare(mp3(np.repeat(LOUD_AND_STILL, 3)[: 44_100 * 4], 44_100)))
    with pytest.raises(AudioError, match=r"^joined of several kinds: "):
        decode.load(b"".join(encoded(LOUD_AND_STILL[: 3 * r], r, format="OGG", subtype="VORBIS") for r in (16_000, 44_100)))


@pytest.mark.parametrize("scale", [1.0, 1.5, 32_768.0])
def test_float_samples_at_integer_scale_are_the_same_sound(scale):
    tone = 0.5 * np.sin(np.arange(RATE) / 7)
    (expected, found) = (decode.load(encoded(tone * s, format="WAV", subtype="FLOAT")) for s in (1.0, scale))
    assert np.corrcoef(expected, found)[0, 1] > 0.99999
    assert np.abs(found).max() <= 1
    [(_, piece)] = cut.pieces(encoded(tone * scale, format="WAV", subtype="FLOAT"), 5.0)
    assert np.array_equal(piece, found)


def test_the_name_of_a_file_decides_nothing(tmp_path):
    for name in ("clip.raw", "clip.RAW", "clip.mp3", "clip"):
        (tmp_path / name).write_bytes(encoded(LOUD_AND_STILL, format="FLAC"))
        assert len(decode.load(str(tmp_path / name))) == RATE * 24
    (tmp_path / "no.raw").write_bytes(DRAW.bytes(4000))
    with pytest.raises(AudioError, match=r"^not readable as audio"):
        decode.load(str(tmp_path / "no.raw"))


def test_an_error_of_the_disk_is_no_end_of_the_sound(tmp_path, monkeypatch):
    (tmp_path / "clip.wav").write_bytes(encoded(np.tile(LOUD_AND_STILL, 8), format="WAV", subtype="FLOAT"))
    opened = (tmp_path / "clip.wav").open("rb")

    class Failing:
        def __getattr__(self, name):
            return getattr(opened, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            opened.close()

        def read(self, count=-1):
            if opened.tell() > 2_000_000:
                raise OSError(5, "Input/output error")
            return opened.read(count)

    monkeypatch.setattr("spire_ray.audio.sound.opened", lambda *_, **__: Failing())
    with pytest.raises(Unreachable, match=r"^unreachable: Input/output error$"):
        decode.load("clip.wav")
