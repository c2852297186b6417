"""Speech begins and ends where it does, however the sound is cut into events."""

import numpy as np
import pytest

from spire_ray.quickstart.espeak import Espeak
from spire_ray.serving import turns
from spire_ray.serving.turns import Turns


@pytest.fixture(scope="module")
def talk():
    """Three sentences between silences, and where they begin and end."""
    speaker = Espeak()
    parts, places, now = [], [], 0.0
    for text, pause in (("The dog sees a cat.", 1.3), ("Yes.", 1.2), ("Nine birds sing in the old garden.", 0.9)):
        said = speaker.speak(text, "en").samples
        parts += [np.zeros(int(16_000 * pause), np.int16), said]
        places.append((now + pause, now + pause + len(said) / 16_000))
        now = places[-1][1]
    speaker.close()
    return np.concatenate([*parts, np.zeros(16_000, np.int16)]), places


@pytest.mark.parametrize("noise", [0, 40])
@pytest.mark.parametrize("step", [160, 777, 100_000])
def test_sentences_between_silences(talk, noise, step):
    sound, places = talk
    sound = (sound // 4 + np.random.default_rng(0).normal(0, noise, len(sound))).astype(np.int16)
    hear = Turns(0.5)
    changes = [change for start in range(0, len(sound), step) for change in hear(sound[start : start + step])]
    assert [change.kind for change in changes] == ["started", "stopped"] * 3
    for (begins, ends), started, stopped in zip(places, changes[::2], changes[1::2], strict=True):
        assert begins - 0.2 < started.at < begins + 0.2
        assert ends - 0.4 < stopped.at - 0.5 < ends + 0.2  # sentences end with a fading or voiceless sound


def test_noise_and_silence_are_nobodys_turn():
    noise = np.random.default_rng(0).normal(0, 3_000, 160_000).astype(np.int16)
    assert Turns(0.5)(noise) == Turns(0.5)(np.zeros(160_000, np.int16)) == []


def test_who_never_pauses_is_answered_all_the_same(talk, monkeypatch):
    monkeypatch.setattr(turns, "_LONGEST", 1.5)
    long = np.concatenate([talk[0][83_000:116_000]] * 4)
    changes = Turns(0.5)(long)
    assert [change.kind for change in changes[:4]] == ["started", "stopped"] * 2
    assert changes[1].at - changes[0].at == pytest.approx(1.5, abs=0.11)
