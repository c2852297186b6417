"""Effects that a path names: the sound and the times are those that come out of them."""

import numpy as np
import pytest
import soundfile

from spire_ray.audio import decode, effects, probe
from spire_ray.audio.decode import AudioError

RATE = 16_000
SWEEP = np.sin(np.cumsum(np.linspace(0.05, 0.6, RATE * 8))).astype(np.float32) / 2


@pytest.fixture
def path(tmp_path):
    soundfile.write(tmp_path / "a #1.wav", np.stack([SWEEP, SWEEP[::-1]], 1), RATE, subtype="FLOAT")
    return str(tmp_path / "a #1.wav")


def pitch(samples):
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * RATE / len(samples)


def test_one_channel_is_heard(path):
    assert np.array_equal(decode.load(f"{path}#channel=0"), SWEEP)
    assert np.array_equal(decode.load(f"{path}#channel=1"), SWEEP[::-1])
    assert np.allclose(decode.load(path), (SWEEP + SWEEP[::-1]) / 2)
    with pytest.raises(AudioError, match=r"^no such channel: 2 of 2$"):
        decode.load(f"{path}#channel=2")


@pytest.mark.parametrize("name", ["speed", "tempo"])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_times_count_in_what_comes_out(path, name, factor):
    source = f"{path}#channel=0&{name}={factor}"
    assert probe.probe(source).seconds == pytest.approx(8 / factor)
    whole = decode.load(source)
    assert len(whole) == pytest.approx(8 * RATE / factor, abs=1)
    found = decode.load(source, 3.0, 0.25)
    assert len(found) == 4_000
    original = SWEEP[round(3.0 * factor * RATE) :][:4_000]
    wanted = pitch(original) * (factor if name == "speed" else 1)
    assert pitch(found) == pytest.approx(wanted, rel=0.05)
    if name == "speed":
        assert np.abs(found[200:-200] - whole[48_200:51_800]).max() < 1e-3
    with pytest.raises(decode.AudioTooLong, match=r"^longer than 5 s$"):
        decode.load(source, max_seconds=5.0)


def test_volume_and_resampling_in_their_order(path):
    assert np.allclose(decode.load(f"{path}#channel=0&volume=0.5"), SWEEP / 2)
    low = decode.load(f"{path}#channel=0&resample=8000")
    assert len(low) == 8 * RATE
    assert low[: RATE * 2].std() == pytest.approx(SWEEP[: RATE * 2].std(), rel=0.01)  # below 400 Hz
    tone = np.sin(np.arange(RATE) * 2)  # above 4 kHz
    soundfile.write(path, tone, RATE, subtype="FLOAT")
    assert np.abs(decode.load(f"{path}#resample=8000")[500:-500]).max() < 0.01


def test_a_path_without_effects_stays_as_it_is():
    for path in ("/data/set #2/a.wav", "a.wav#b=1", "a.wav#speed=fast", "x.tar:0:10"):
        assert effects.split(path) == (path, effects.NONE)
    assert effects.split(effects.written("a.wav", [("channel", 1), ("speed", 1.1)])) == (
        "a.wav", effects.Effects((("speed", 1.1),), 1),
    )  # fmt: skip
