"""What is done to a recording before it is heard, as its path says: `FILE#channel=1&speed=1.1`.

These are the transforms that Lhotse applies when it loads a recording, in their order. Times of a row count in what comes out.
"""

import re
from dataclasses import dataclass

import numpy as np
import soxr

from spire_ray.audio.source import AudioError
from spire_ray.settings import SAMPLE_RATE

NAMES = ("channel", "speed", "tempo", "volume", "resample")
_ONE = rf"(?:{'|'.join(NAMES)})=\d+(?:\.\d+)?"
_WRITTEN = re.compile(rf"(.+)#({_ONE}(?:&{_ONE})*)", re.DOTALL)
_SEGMENT, _SEARCH, _OVERLAP = 0.082, 0.01468, 0.012
"""Seconds of a piece that is moved, of where it may be moved, and of two that are faded into each other: SoX's own."""


@dataclass(frozen=True)
class Effects:
    """The effects of a source, in their order."""

    steps: tuple[tuple[str, float], ...] = ()
    channel: int | None = None
    """Which one is heard; None for the mean of all."""

    @property
    def scale(self) -> float:
        """Seconds of the file in one second of what comes out."""
        return float(np.prod([value for name, value in self.steps if name in ("speed", "tempo")]))

    def apply(self, mono: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
        """Samples and their rate → the same after the effects."""
        for name, value in self.steps:
            if name == "speed":
                rate *= value
            elif name == "volume":
                mono = mono * np.float32(value)
            elif name == "tempo":
                mono = _tempo(mono, rate, value)
            elif value < SAMPLE_RATE and value < rate:  # else the rate that every waveform comes to in the end is the lower one
                mono, rate = np.asarray(soxr.resample(mono, rate, value), np.float32), value
        return mono, rate

    def heard(self, samples: np.ndarray) -> np.ndarray:
        """[samples, channels] → one channel. Raises AudioError for one that is not there."""
        if self.channel is None:
            return samples[:, 0] if samples.shape[1] == 1 else np.asarray(samples.mean(axis=1))
        if self.channel >= samples.shape[1]:
            raise AudioError(f"no such channel: {self.channel} of {samples.shape[1]}")
        return np.asarray(samples[:, self.channel])


NONE = Effects()


def split(source: bytes | str) -> tuple[bytes | str, Effects]:
    """A source without its effects, and these."""
    found = _WRITTEN.fullmatch(source) if isinstance(source, str) else None
    if found is None:
        return source, NONE
    pairs = [(name, float(value)) for name, value in (step.split("=") for step in found[2].split("&"))]
    if wrong := [name for name, value in pairs if not value and name != "channel"]:
        raise AudioError(f"not an effect: {wrong[0]}=0")
    channel = next((int(value) for name, value in pairs if name == "channel"), None)
    return found[1], Effects(tuple(pair for pair in pairs if pair[0] != "channel"), channel)


def written(path: str, steps: list[tuple[str, float]]) -> str:
    """A path that says its effects."""
    return f"{path}#{'&'.join(f'{name}={value:.9g}' for name, value in steps)}" if steps else path


def _tempo(mono: np.ndarray, rate: float, factor: float) -> np.ndarray:
    """Another speed at the same pitch, by moved pieces that overlap where they fit best (WSOLA)."""
    segment, search, overlap = (round(seconds * rate) for seconds in (_SEGMENT, _SEARCH, _OVERLAP))
    step, wanted = segment - overlap, round(len(mono) / factor)
    padded = np.concatenate([mono, np.zeros(2 * segment + search, np.float32)])
    made = np.zeros(wanted + 2 * segment, np.float32)
    made[:segment] = padded[:segment]
    fade = np.linspace(0, 1, overlap, dtype=np.float32)
    before = 0
    for start in range(step, wanted, step):
        place = min(max(0, round(start * factor) - search // 2), len(padded) - segment - search)
        end = padded[before + step : before + segment]
        fits = np.correlate(padded[place : place + search + overlap - 1], end, "valid")
        before = place + int(np.argmax(fits))
        piece = padded[before : before + segment]
        made[start : start + overlap] = made[start : start + overlap] * (1 - fade) + piece[:overlap] * fade
        made[start + overlap : start + segment] = piece[overlap:]
    return made[:wanted]
