"""What is done to speech to see how far a system bears it; each has a name and a strength: `noise=10`, in dB."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from spire_ray.core.registry import nearest
from spire_ray.settings import SAMPLE_RATE

Distort = Callable[[np.ndarray, float, np.random.Generator, Sequence[np.ndarray]], np.ndarray]
"""Samples float32 at 16 kHz, strength, source of chance, other recordings of the corpus → samples."""
_TALKERS = 6
_BAND = (300.0, 3400.0)
_BEAT, _NOTES, _OVERTONES = 0.4, (45, 65), np.arange(1, 9)
"""Seconds; MIDI numbers of the lowest notes of chords, A2 to E4; multiples of a note."""
_WALLS = 2.5e-3
"""Seconds between two echoes of a room, on average."""


@dataclass(frozen=True)
class Condition:
    """One distortion at one strength."""

    name: str
    strength: float

    def __str__(self) -> str:
        return f"{self.name}={self.strength:g}"

    def apply(self, samples: np.ndarray, utt_id: str, seed: int, others: Sequence[np.ndarray]) -> np.ndarray:
        """The same noise for the same row, whatever else is distorted. Never louder than full scale."""
        draw = np.random.default_rng([seed, *utt_id.encode()])
        made = DISTORTIONS[self.name][0](samples.astype(np.float64), self.strength, draw, others)
        peak = float(np.abs(made).max(initial=0.0))
        return np.asarray(made / peak if peak > 1 else made, np.float32)


def parsed(text: str, field: str = "conditions") -> Condition:
    """`noise=10` → a condition. Raises ValueError for an unknown name, and for a strength that it does not take."""
    name, _, strength = text.partition("=")
    if name not in DISTORTIONS:
        raise ValueError(f"{field}: {text}{nearest(name, DISTORTIONS)}")
    _, (low, high), what = DISTORTIONS[name]
    try:
        value = float(strength)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ValueError(f"{field}: {text}: {name}=NUMBER, {what}, from {low:g} to {high:g}")
    return Condition(name, value)


def _mixed(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Speech and noise at a ratio of their powers, in dB."""
    speech, other = np.mean(samples**2), np.mean(noise**2)
    return samples + noise * np.sqrt(speech / other * 10 ** (-snr / 10)) if other > 0 else samples


def _noise(samples: np.ndarray, snr: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    return _mixed(samples, draw.standard_normal(len(samples)), snr)


def _babble(samples: np.ndarray, snr: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Other recordings, each as loud as any, from some point on and over again."""
    noise = np.zeros(len(samples))
    for number in draw.permutation(len(others))[:_TALKERS]:
        talker = others[number].astype(np.float64)
        loudness = np.sqrt(np.mean(talker**2))
        if loudness > 0:
            noise += np.resize(np.roll(talker, -int(draw.integers(len(talker)))), len(samples)) / loudness
    return _mixed(samples, noise, snr)


def _music(samples: np.ndarray, snr: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """A major or minor chord on every beat, of notes with overtones that die away as those of a piano."""
    time = np.arange(int(_BEAT * SAMPLE_RATE)) / SAMPLE_RATE
    beats = []
    for _ in range(-(-len(samples) // len(time))):
        root, third = int(draw.integers(*_NOTES)), int(draw.integers(3, 5))
        hertz = 440 * 2 ** ((np.array([root, root + third, root + 7]) - 69) / 12)
        waves = np.sin(2 * np.pi * (hertz[:, None] * _OVERTONES).reshape(-1, 1) * time)
        beats.append((np.tile(1 / _OVERTONES, 3) @ waves) * np.exp(-4 * time))
    return _mixed(samples, np.concatenate(beats)[: len(samples)], snr)


def _speed(samples: np.ndarray, factor: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE))


def _telephone(samples: np.ndarray, bits: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """300 to 3,400 Hz, by ITU-T G.711's µ-law in so many bits."""
    spectrum, hertz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    band = np.fft.irfft(spectrum * ((hertz >= _BAND[0]) & (hertz <= _BAND[1])), len(samples))
    steps, law = 2 ** (bits - 1), 255.0
    small = np.round(np.sign(band) * np.log1p(law * np.minimum(np.abs(band), 1)) / np.log1p(law) * steps) / steps
    return np.asarray(np.sign(small) * np.expm1(np.abs(small) * np.log1p(law)) / law)


def _clipping(samples: np.ndarray, share: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """So many percent of the samples, the loudest, are cut to one height."""
    height = np.quantile(np.abs(samples), 1 - share / 100)
    return np.asarray(np.clip(samples, -height, height))


def _room(samples: np.ndarray, seconds: float, draw: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Echoes at random times that fade by 60 dB in so many seconds, behind the direct sound."""
    length = int(seconds * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    echoes = draw.standard_normal(length) * (draw.random(length) < 1 / (_WALLS * SAMPLE_RATE)) * 10 ** (-3 * time / seconds)
    echoes[0] = 1.0
    size = len(samples) + length - 1
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echoes, size), size)[: len(samples)]


DISTORTIONS: dict[str, tuple[Distort, tuple[float, float], str]] = {
    "noise": (_noise, (-20, 60), "white noise, dB of signal to noise"),
    "babble": (_babble, (-20, 60), "six other recordings of the corpus, dB of signal to noise"),
    "music": (_music, (-20, 60), "chords on every beat, dB of signal to noise"),
    "speed": (_speed, (0.5, 2), "times as fast, and as high"),
    "telephone": (_telephone, (2, 16), "300 to 3,400 Hz and µ-law, bits a sample"),
    "clipping": (_clipping, (0, 90), "percent of the samples that are cut"),
    "room": (_room, (0.05, 3), "seconds until an echo has faded by 60 dB"),
}
"""Name → (function, least and greatest strength, what the strength is)."""
