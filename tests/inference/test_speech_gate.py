"""The gate: silence and noise of every color are no speech; speech is, also when it is quiet, noisy or rare."""

import numpy as np
import pytest

from spire_ray.inference.speech_gate import holds_speech
from spire_ray.quickstart.espeak import Espeak

SECONDS = np.arange(16_000 * 5) / 16_000
WHITE = np.random.default_rng(0).standard_normal(len(SECONDS))


def colored(power):
    spectrum = np.fft.rfft(WHITE)
    colored = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** power, len(WHITE))
    return colored / np.abs(colored).max() / 2


SOUNDS = {
    "silence": np.zeros(len(SECONDS)),
    "white": WHITE / 8,
    "faint": WHITE / 30_000,
    "pink": colored(0.5),
    "brown": colored(1),
    "hum": 0.3 * np.sin(2 * np.pi * 50 * SECONDS) + 0.1 * np.sin(2 * np.pi * 150 * SECONDS),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * SECONDS),
    "bursts": WHITE / 8 * (np.sin(2 * np.pi * 3 * SECONDS) > 0),
    "clicks": (np.arange(len(SECONDS)) % 8_000 == 0).astype(float),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_what_is_no_speech(sound):
    assert not holds_speech(SOUNDS[sound].astype(np.float32))
    assert not holds_speech((SOUNDS[sound] * 32_767).astype(np.int16))


@pytest.mark.parametrize("samples", [0, 1, 400, 1_600])
def test_too_little_for_a_syllable(samples):
    assert not holds_speech((0.3 * np.sin(2 * np.pi * 200 * SECONDS[:samples])).astype(np.float32))


@pytest.mark.parametrize("voice", ["en", "en+f3", "en-US+m3"])
@pytest.mark.parametrize("text", ["The dog sees a cat.", "Yes.", "no", "six stitches stick"])
def test_speech(voice, text):
    speaker = Espeak()
    speech = speaker.speak(text, voice).samples.astype(np.float32) / 32_768
    speaker.close()
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    assert holds_speech(speech)
    assert holds_speech(speech / 100)
    assert holds_speech(speech + noise * float(np.sqrt(np.mean(speech**2) / 3)))  # 5 dB
    assert holds_speech(np.concatenate([np.zeros(60 * 16_000, np.float32), speech, np.zeros(60 * 16_000, np.float32)]))
