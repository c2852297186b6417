"""Audio of many kinds becomes mono at 16 kHz; what cannot is refused with its own reason."""

import io

import numpy as np
import pytest
import soundfile

from spire_ray.audio import decode
from spire_ray.audio.decode import AudioError, AudioTooLong
from spire_ray.audio.pcm import to_pcm


def tone(seconds=1.0, rate=16_000, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, rate=16_000, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **form)
    return buffer.getvalue()


# --- what can be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [
        ({"format": "WAV", "subtype": "PCM_U8"}, 1 / 100),
        ({"format": "WAV", "subtype": "PCM_16"}, 1 / 30_000),
        ({"format": "WAV", "subtype": "PCM_24"}, 1 / 8_000_000),
        ({"format": "WAV", "subtype": "FLOAT"}, 0),
        ({"format": "FLAC", "subtype": "PCM_16"}, 1 / 30_000),
        ({"format": "FLAC", "subtype": "PCM_24"}, 1 / 8_000_000),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.1),
        ({"format": "MP3", "subtype": "MPEG_LAYER_III"}, 0.1),
    ],
    ids=lambda value: value.get("subtype") if isinstance(value, dict) else None,
)
def test_formats(form, tolerance, tmp_path):
    data = encoded(tone(), **form)
    (tmp_path / "clip").write_bytes(data)
    for source in (data, str(tmp_path / "clip")):
        waveform = decode.load(source)
        assert waveform.dtype == np.float32
        assert waveform.shape == (16_000,)
        assert np.abs(waveform - tone())[500:-500].max() <= tolerance


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate):
    waveform = decode.load(encoded(tone(rate=rate), rate, format="WAV", subtype="FLOAT"))
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 16_000) <= 1
    assert np.abs(waveform[200:15_800] - tone()[200:15_800]).max() < 0.01


def test_channels_are_averaged():
    left, right = tone(hertz=300), tone(hertz=700)
    stereo = decode.load(encoded(np.stack([left, right], axis=1), format="WAV", subtype="FLOAT"))
    assert np.allclose(stereo, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("cut", [{}, {"offset": 0.25}, {"offset": 0.25, "duration": 0.5}, {"max_seconds": 2.0}], ids=str)
@pytest.mark.parametrize("form", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("MP3", None)])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (16_000, 2), (44_100, 1)])
def test_as_pcm_an_utterance_is_what_its_waveform_becomes(form, cut, rate, channels):
    both = np.stack([1.2 * tone(rate=rate), tone(hertz=700, rate=rate)][:channels], axis=1)
    data = encoded(both, rate, format=form[0], subtype=form[1])
    samples = decode.load_pcm(data, **cut)
    assert samples.dtype == np.int16
    assert np.array_equal(samples, to_pcm(decode.load(data, **cut)))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_as_pcm_bad_audio_is_refused_with_the_same_reason(rate):
    data = encoded(tone(rate=rate), rate, format="WAV", subtype="PCM_16")
    for source, cut, reason in [
        (data, {"offset": -1.0}, "negative offset"),
        (data, {"offset": 1.0}, "no samples"),
        (data, {"max_seconds": 0.5}, "longer than 0.5 s"),
        (data[: len(data) // 2], {}, "truncated"),
        (data[: len(data) // 2], {"offset": 0.25, "duration": 0.75}, "truncated"),
        (encoded(tone() * np.nan, format="WAV", subtype="FLOAT"), {}, "NaN"),
    ]:
        with pytest.raises(AudioError, match=reason):
            decode.load_pcm(source, **cut)


def test_a_cut_is_the_part_between_offset_and_duration():
    data = encoded(tone(2), format="WAV", subtype="FLOAT")
    assert np.array_equal(decode.load(data, offset=0.5, duration=0.25), tone(2)[8_000:12_000])
    assert np.array_equal(decode.load(data, offset=1.5), tone(2)[24_000:])


# --- what cannot ----------------------------------------------------------------------------------------------------


def text_named_wav(folder):
    (folder / "clip.wav").write_text("this is no audio at all\n" * 50)


def nothing(folder):
    (folder / "clip.wav").touch()


def directory(folder):
    (folder / "clip.wav").mkdir()


def dangling_link(folder):
    (folder / "clip.wav").symlink_to(folder / "gone.wav")


def missing(folder):
    pass


def no_samples(folder):
    soundfile.write(folder / "clip.wav", np.zeros(0), 16_000)


def truncated(folder):
    samples = np.random.default_rng(0).standard_normal(64_000) / 8
    data = encoded(samples, format="FLAC", subtype="PCM_16")
    (folder / "clip.wav").write_bytes(data[: len(data) // 2])


def not_a_number(folder):
    samples = tone()
    samples[100] = np.nan
    soundfile.write(folder / "clip.wav", samples, 16_000, subtype="FLOAT")


def infinite(folder):
    samples = tone()
    samples[100] = np.inf
    soundfile.write(folder / "clip.wav", samples, 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nothing, "empty file"),
        (text_named_wav, "not readable as audio"),
        (directory, "a folder, not a file"),
        (dangling_link, "dangling link"),
        (missing, "no such file"),
        (no_samples, "no samples"),
        (truncated, "truncated"),
        (not_a_number, "NaN or infinite samples"),
        (infinite, "NaN or infinite samples"),
    ],
)
def test_a_bad_file_is_refused_with_its_own_reason(tmp_path, make, reason):
    make(tmp_path)
    with pytest.raises(AudioError, match=f"^({reason})"):
        decode.load(str(tmp_path / "clip.wav"))


@pytest.mark.parametrize("source", [b"", ""])
def test_nothing_given_is_refused(source):
    with pytest.raises(AudioError, match="empty file" if source == b"" else "no path and no bytes"):
        decode.load(source)


def test_bytes_that_are_no_audio_are_refused():
    with pytest.raises(AudioError, match="not readable as audio"):
        decode.load(b"this is no audio at all")


def test_a_wav_file_that_ends_early_is_refused_but_its_good_part_can_be_cut_out():
    data = encoded(tone(2), format="WAV", subtype="PCM_16")
    half = data[: len(data) // 2]
    with pytest.raises(AudioError, match="truncated: 31978 of 64000 bytes"):
        decode.load(half)
    assert np.array_equal(decode.load(half, duration=0.5), decode.load(data, duration=0.5))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_file_from_a_pipe_does_not_know_its_size_and_is_read(size):
    data = bytearray(encoded(tone(), format="WAV", subtype="PCM_16"))
    data[40:44] = size.to_bytes(4, "little")
    assert len(decode.load(bytes(data))) == 16_000


def test_a_cut_beyond_the_end_is_refused():
    data = encoded(tone(1), format="WAV", subtype="PCM_16")
    with pytest.raises(AudioError, match="no samples"):
        decode.load(data, offset=1.0)
    with pytest.raises(AudioError, match="truncated: 8000 of 16000 samples"):
        decode.load(data, offset=0.5, duration=1.0)
    with pytest.raises(AudioError, match="no samples"):
        decode.load(data, duration=0.0)


def test_a_negative_offset_is_refused():
    with pytest.raises(AudioError, match="negative offset"):
        decode.load(encoded(tone(), format="WAV"), offset=-0.5)


def test_what_is_too_long_is_refused_before_it_is_decoded():
    data = encoded(tone(3), format="FLAC")
    with pytest.raises(AudioTooLong, match=r"longer than 2\.5 s"):
        decode.load(data, max_seconds=2.5)
    assert len(decode.load(data, duration=2.5, max_seconds=2.5)) == 40_000
