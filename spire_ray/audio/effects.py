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
_SEGMENT = 0.082
_SEARCH, _OVERLAP = _SEGMENT / 5.587, _SEGMENT / 6.833
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
        given = rate
        for name, value in self.steps:
            if name == "speed":
                rate *= value
            elif name == "volume":
                mono = mono * np.float32(value)
            elif name == "tempo":
                mono, rate = _tempo(_resampled(mono, rate, given), given, value), given
            else:
                given = value
                if value < SAMPLE_RATE and value < rate:  # else the rate that every waveform comes to in the end is the lower one
                    mono, rate = _resampled(mono, rate, value), value
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


def _resampled(mono: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    return mono if rate == wanted else np.asarray(soxr.resample(mono, rate, wanted), np.float32)


def _tempo(mono: np.ndarray, rate: float, factor: float) -> np.ndarray:
    """Another speed at the same pitch (WSOLA): pieces are moved to where they differ least from what goes on, and faded in.

    Sample by sample what SoX's effect `tempo` makes, which is Lhotse's, too.
    """
    segment, search = round(_SEGMENT * rate), round(_SEARCH * rate)
    overlap = max(16, int(_OVERLAP * rate + 4.5)) // 8 * 8
    step, wanted = segment - overlap, int(len(mono) / factor + 0.5)
    pieces = -(-wanted // step)
    before, behind = search // 2, round(pieces * step * factor) + segment + search
    padded = np.concatenate([np.zeros(before, np.float32), mono, np.zeros(behind, np.float32)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    made = np.empty(pieces * step + overlap, np.float32)
    fade = np.arange(overlap, dtype=np.float32) / overlap
    for number in range(pieces):
        first, start = int(number * step * factor + 0.5), number * step
        if not number:
            best, made[:overlap] = before, padded[before:][:overlap]
        else:
            end = made[start : start + overlap]
            fits = np.correlate(padded[first : first + search + overlap - 1], end, "valid")
            energy = squares[first + overlap :][:search] - squares[first:][:search]
            best = first + int(np.argmin(energy - 2 * fits))
            made[start : start + overlap] = end * (1 - fade) + padded[best : best + overlap] * fade
        made[start + overlap : start + segment] = padded[best + overlap : best + segment]
    return made[:wanted]
