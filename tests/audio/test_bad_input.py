"""Every bad input that a corpus holds ends as a refused row with a reason of its own, never as an exception or an empty row."""

import io
import os
import sys

import numpy as np
import pytest
import soundfile

from spire_ray.audio import cut, decode, header
from spire_ray.audio.decode import AudioError, AudioTooLong

NOISE = (np.random.default_rng(0).standard_normal(32_000) / 8).astype(np.float32)


def encoded(samples=NOISE, rate=16_000, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **form)
    return buffer.getvalue()


WAV = encoded(format="WAV", subtype="PCM_16")
FLAC = encoded(format="FLAC", subtype="PCM_16")


def patched(data, place, value, order="little"):
    changed = bytearray(data)
    changed[place : place + len(value.to_bytes(4, order))] = value.to_bytes(4, order)
    return bytes(changed)


def flac_of(total):
    """FLAC whose header says another number of samples: 36 bits at the end of bytes 18 to 25."""
    word = int.from_bytes(FLAC[18:26], "big") >> 36 << 36 | total
    return FLAC[:18] + word.to_bytes(8, "big") + FLAC[26:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (WAV[: len(WAV) // 2], "truncated: "),
        (FLAC[: len(FLAC) // 2], "truncated"),
        (encoded(format="MP3")[:5000], "truncated: "),
        (encoded(format="OGG", subtype="VORBIS")[:-100], "truncated: the last page is not complete"),
        (encoded(format="OGG", subtype="OPUS")[:-100], "truncated: the last page is not complete"),
        (encoded(np.zeros(0, np.float32), format="WAV"), "no samples"),
        (patched(WAV, 40, 1000), "false length: the header says 1000 of 64044 bytes"),
        (patched(WAV, 40, 0), "no samples|false length"),
        (flac_of(1000), "false length: the header says 1000 samples"),
        (flac_of(10**6), "truncated"),
        (patched(WAV, 24, 0), "sample rate 0"),
        (patched(WAV, 24, 2_000_000_000), "sample rate 2000000000: must be 1000 to 768000 Hz"),
        (b"this is no audio at all\n" * 50, "not readable as audio: a text file"),
        (bytes(5000), "not readable as audio: zeros only"),
        (os.urandom(100) + b"\x00\xff" * 2000, "not readable as audio"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("where", ["bytes", "file", "part"])
def test_a_damaged_file_has_its_own_reason(data, reason, where, tmp_path):
    source = data
    if where != "bytes":
        (tmp_path / "clip.wav").write_bytes(data if where == "file" else b"before" + data + b"after")
        source = str(tmp_path / "clip.wav") + ("" if where == "file" else f":6:{len(data)}")
    with pytest.raises(AudioError, match=f"^({reason})"):
        decode.load(source)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "AU little", "W64", "RF64", "NIST", "CAF", "FLAC", "OGG"])
def test_half_a_file_of_any_container_is_no_shorter_recording(form, in_pieces):
    name, _, order = form.partition(" ")
    data = encoded(format=name, endian="LITTLE" if order else None)
    hear = (lambda data: [*cut.pieces(data, 2.0)]) if in_pieces else decode.load
    hear(data)
    with pytest.raises(AudioError, match=r"^(truncated|not readable as audio)"):
        hear(data[: len(data) // 2])


def test_no_permission(tmp_path, monkeypatch):
    (tmp_path / "clip.wav").write_bytes(WAV)
    (tmp_path / "clip.wav").chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(AudioError, match=r"^no permission$"):
        decode.load(str(tmp_path / "clip.wav"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.wav")
    with pytest.raises(AudioError, match=r"^a device or pipe, not a file$"):
        decode.load(str(tmp_path / "clip.wav"))


def test_a_part_beyond_the_end_of_its_file_is_truncated(tmp_path):
    (tmp_path / "x.tar").write_bytes(WAV)
    with pytest.raises(AudioError, match=r"^truncated: 44 of 1000 bytes of a part"):
        decode.load(f"{tmp_path}/x.tar:64000:1000")


@pytest.mark.parametrize("total", [0, 2**36 - 1])
def test_a_file_that_does_not_say_its_length_is_read_to_its_end(total):
    if total:
        with pytest.raises(AudioError, match=r"^longer than 120 s$"):
            decode.load(flac_of(total), max_seconds=120)
    else:
        assert np.allclose(decode.load(flac_of(0), max_seconds=120), NOISE.clip(-1, 1), atol=1e-4)


def test_a_small_file_that_decodes_to_far_more_stops_at_the_limit():
    hours = encoded(np.zeros(16_000 * 3600, np.float32), format="FLAC", subtype="PCM_16")
    assert len(hours) < 200_000
    with pytest.raises(AudioTooLong):
        decode.load(hours, max_seconds=60)
    word = int.from_bytes(hours[18:26], "big") >> 36 << 36  # the same without a length in its header
    with pytest.raises(AudioTooLong):
        decode.load(hours[:18] + word.to_bytes(8, "big") + hours[26:], max_seconds=60)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav_of_every_depth_and_number_of_channels(subtype, channels):
    samples = np.repeat(NOISE[:, None].clip(-0.99, 0.99), channels, 1)
    waveform = decode.load(encoded(samples, format="WAV", subtype=subtype))
    assert np.abs(waveform - samples[:, 0]).max() < (0.04 if "LAW" in subtype else 0.01)


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [({"format": "MP3"}, 1e-5), ({"format": "OGG", "subtype": "VORBIS"}, 1e-6), ({"format": "FLAC"}, 0),
     ({"format": "OGG", "subtype": "OPUS"}, 0.02)],
)  # fmt: skip
def test_a_cut_by_seeking_is_the_slice_of_the_whole(form, tolerance):
    data = encoded(**form)
    whole = decode.load(data)
    assert np.abs(decode.load(data, offset=0.75, duration=0.5) - whole[12_000:20_000]).max() <= tolerance


def test_a_cut_does_not_decode_what_comes_before(monkeypatch):
    data = encoded(np.tile(NOISE, 30), format="FLAC")
    read = []
    original = soundfile.SoundFile.read

    def counted(self, frames=-1, *arguments, **options):
        read.append(frames)
        return original(self, frames, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert len(decode.load(data, offset=50.0, duration=1.0)) == 16_000
    assert sum(read) <= 16_000


MEDIA = {
    "M4A or MP4": b"\x00\x00\x00\x20ftypM4A ",
    "WebM or Matroska": b"\x1a\x45\xdf\xa3",
    "WMA": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "AMR": b"#!AMR\n",
    "AC-3": b"\x0b\x77",
    "AAC": b"\xff\xf1",
    "FLV": b"FLV\x01",
    "WavPack": b"wvpk",
    "Ogg FLAC": b"OggS" + bytes(24) + b"\x7fFLAC",
}


@pytest.mark.parametrize("name", MEDIA)
def test_what_needs_the_extra_says_so(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=rf"^needs the extra media: pip install 'spire-ray\[media\]' .* {name}$"):
        decode.load(MEDIA[name] + bytes(600))


def test_a_complete_ogg_page_at_the_end_is_complete():
    for subtype in ("VORBIS", "OPUS"):
        data = encoded(format="OGG", subtype=subtype)
        assert header._ogg_complete(io.BytesIO(data), len(data))


# --- long recordings ------------------------------------------------------------------------------------------------


def speech(words, rate=16_000, pause=0.4):
    """Bursts of noise with pauses between them, and the middles of the pauses in seconds."""
    parts, middles, place = [], [], 0.0
    draw = np.random.default_rng(1)
    for word in words:
        parts += [draw.standard_normal(round(word * rate)) / 8, np.zeros(round(pause * rate))]
        place += word + pause
        middles.append(place - pause / 2)
    return np.concatenate(parts).astype(np.float32), middles


@pytest.mark.parametrize("form", [{"format": "WAV", "subtype": "FLOAT"}, {"format": "FLAC"}, {"format": "MP3"}])
def test_pieces_end_in_pauses_and_join_to_the_whole(form):
    samples, middles = speech([2.1, 1.7, 2.6, 1.2, 3.0, 2.2, 1.9, 2.4])
    data = encoded(samples, **form)
    found = list(cut.pieces(data, 5.0))
    assert np.array_equal(np.concatenate([piece for _, piece in found]), decode.load(data))
    assert all(len(piece) <= 5 * 16_000 for _, piece in found)
    assert all(min(abs(start - middle) for middle in middles) < 0.3 for start, _ in found[1:])


def test_windows_of_one_recording_find_the_same_boundaries():
    samples, _ = speech([2.1, 1.7, 2.6, 1.2, 3.0, 2.2, 1.9, 2.4], rate=44_100)
    data = encoded(samples, 44_100, format="FLAC")
    windows = [(0.0, 7.0), (7.0, 14.0), (14.0, None)]
    found = [piece for begin, end in windows for piece in cut.pieces(data, 4.0, begin, end)]
    starts = [start for start, _ in found]
    ends = [start + len(piece) / 16_000 for start, piece in found]
    assert starts[0] == 0 and np.allclose(starts[1:], ends[:-1], atol=2e-4)
    assert abs(ends[-1] - len(samples) / 44_100) < 2e-4


def test_a_recording_shorter_than_its_manifest_says_is_refused():
    data = encoded(np.tile(NOISE, 5), format="FLAC")
    with pytest.raises(AudioError, match=r"no samples at|truncated"):
        list(cut.pieces(data, 3.0, 20.0, 30.0))
    with pytest.raises(AudioError, match="truncated"):
        list(cut.pieces(data, 3.0, 0.0, 10.5))
