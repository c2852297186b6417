"""What PyAV alone reads: every container to its end, from its first sample on, and damage with a reason."""

import io
import sys
import tempfile

import numpy as np
import pytest
import soundfile

from spire_ray.audio import cut, decode
from spire_ray.audio.decode import AudioError, AudioTooLong
from tests.conftest import ROOT

pytestmark = pytest.mark.long
av = pytest.importorskip("av", reason="needs the extra media")
RATE = 44_100
CHIRP = np.sin(np.cumsum(np.linspace(0.05, 0.4, RATE * 12))).astype(np.float32)
"""12 s that are nowhere the same."""


def made(form, codec, rate=RATE, channels=2, **options):
    """The chirp, left louder than right, in a container."""
    with tempfile.NamedTemporaryFile() as file:
        _write(file.name, form, codec, rate, channels, options)
        return file.read()


def _write(place, form, codec, rate, channels, options):
    with av.open(place, "w", format=form, options=options) as container:
        layout = "stereo" if channels == 2 else "mono"
        track = container.add_stream(codec, rate=rate, layout=layout)
        track.bit_rate = 12_200 if channels == 1 else 192_000
        both = np.stack([CHIRP / 2, CHIRP / 4][:channels])
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(both), "fltp", layout)
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(track.codec_context.format, layout, rate, track.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(part))
        container.mux(track.encode(None))


FORMS = {
    "m4a": {"form": "ipod", "codec": "aac"},
    "m4a alac": {"form": "ipod", "codec": "alac"},
    "mp4": {"form": "mp4", "codec": "aac"},
    "mov": {"form": "mov", "codec": "aac"},
    "webm": {"form": "webm", "codec": "libopus", "rate": 48_000},
    "mkv": {"form": "matroska", "codec": "flac"},
    "wma": {"form": "asf", "codec": "wmav2"},
    "aac": {"form": "adts", "codec": "aac"},
    "ac3": {"form": "ac3", "codec": "ac3"},
    "eac3": {"form": "eac3", "codec": "eac3"},
    "ts": {"form": "mpegts", "codec": "aac"},
    "flv": {"form": "flv", "codec": "aac"},
    "wv": {"form": "wv", "codec": "wavpack"},
    "ogg flac": {"form": "ogg", "codec": "flac"},
    "amr": {"form": "amr", "codec": "libopencore_amrnb", "rate": 8_000, "channels": 1},
}


def expected():
    buffer = io.BytesIO()
    soundfile.write(buffer, CHIRP * 3 / 8, RATE, format="WAV", subtype="FLOAT")
    return decode.load(buffer.getvalue())


IN_PLACE = {"m4a", "m4a alac", "mp4", "mov", "webm", "mkv", "wv", "ogg flac"}
"""The others do not say the delay of their coder."""


@pytest.mark.parametrize("name", FORMS)
def test_a_container_is_heard_from_its_first_sample_to_its_end(name):
    form = FORMS[name]
    found, whole = decode.load(made(**form)), expected()
    assert len(found) / 16_000 == pytest.approx(12, abs=0.15)
    if name in IN_PLACE:
        assert np.corrcoef(found[: 16_000 * 4], whole[: 16_000 * 4])[0, 1] > 0.99
    if form.get("channels") != 1:
        assert found[8_000:160_000].std() == pytest.approx(whole[8_000:160_000].std(), rel=0.05)


@pytest.mark.parametrize("name", ["m4a", "mov", "ogg flac", "webm"])
def test_a_cut_is_the_slice_of_the_whole(name):
    data = made(**FORMS[name])
    whole = decode.load(data)
    for begin in (0.0, 0.5, 8.5):
        start = round(begin * 16_000)
        found = decode.load(data, begin, 1.0)
        late = 16 if name == "webm" else 0  # whose times are of whole milliseconds
        near = [whole[start + shift : start + shift + 16_000] for shift in range(-min(late, start), late + 1)]
        assert min(np.abs(found[200:-200] - part[200:-200]).max() for part in near) < 0.02
    pieces = [piece for begin, end in [(0.0, 5.0), (5.0, 10.0), (10.0, None)] for piece in cut.pieces(data, 3.0, begin, end)]
    assert sum(len(piece) for _, piece in pieces) == pytest.approx(len(whole), abs=40 * len(pieces))


def test_the_page_of_formats_lists_each():
    page = (ROOT / "docs" / "formats.md").read_text()
    for name, form in FORMS.items():
        late = "shifted by at most 25 ms: the delay of its coder is not told"
        assert f"| {name} | {form['codec']} | whole, {'samples in their places' if name in IN_PLACE else late} |" in page


def test_damage_has_the_same_reason_in_every_run():
    front, back = made("mp4", "aac", movflags="faststart"), made("mp4", "aac")
    for data in (front[: len(front) // 2], back[: len(back) // 2], back[:2000] + bytes(5000) + back[7000:], front[:600]):
        told = set()
        for _ in range(2):
            with pytest.raises(AudioError, match=r"^(truncated|truncated or damaged|not readable as audio)(:|$)") as raised:
                decode.load(data)
            told.add(str(raised.value))
        assert len(told) == 1
    with pytest.raises(AudioTooLong, match=r"^longer than 5 s$"):
        decode.load(back, max_seconds=5)


def test_mp2_needs_no_extra_and_is_heard_to_its_end(monkeypatch):
    data = made("mp2", "mp2")
    monkeypatch.setitem(sys.modules, "av", None)
    for source, seconds in ((data, 12), (data * 2, 24)):
        assert len(decode.load(source)) / 16_000 == pytest.approx(seconds, abs=0.1)
