"""Where speech begins and ends in sound that comes bit by bit, by the speech gate."""

from typing import Literal, NamedTuple

import numpy as np

from spire_ray.inference.speech_gate import holds_speech, syllable_times
from spire_ray.settings import SAMPLE_RATE

_STEP = SAMPLE_RATE // 10
"""Samples between two looks."""
WINDOW = 1.0
"""Seconds that a look takes in."""
_SYLLABLE = 0.13
"""Seconds from the beginning of a syllable to where the gate has heard it."""
_LONGEST = 60.0
"""Seconds after which a turn is ended without silence, so that memory is bounded; the next one begins with what is said then."""


class Change(NamedTuple):
    """Speech begins, or has ended."""

    kind: Literal["started", "stopped"]
    at: float
    """Seconds; speech stops at the end of the silence that says so."""


class Turns:
    """Samples → changes. Speech has ended when no syllable has come for `silence` seconds."""

    def __init__(self, silence: float, start: float = 0.0) -> None:
        """The first sample is at `start`."""
        self._silence = silence
        self.began: float | None = None
        """When the turn that goes on has begun."""
        self._rest = self._window = np.zeros(0, np.int16)
        self._now = self._last = self._ended = start

    def __call__(self, samples: np.ndarray) -> list[Change]:
        """The next samples, int16 [n] at 16 kHz."""
        rest, changes = np.concatenate([self._rest, samples]), []
        while len(rest) >= _STEP:
            self._window = np.concatenate([self._window, rest[:_STEP]])[-int(WINDOW * SAMPLE_RATE) :]
            rest = rest[_STEP:]
            self._now += _STEP / SAMPLE_RATE
            if change := self._look():
                changes.append(change)
        self._rest = rest.copy()
        return changes

    def _look(self) -> Change | None:
        syllables = self._now - len(self._window) / SAMPLE_RATE + syllable_times(self._window)
        if self.began is None:
            if not len(syllables) or not holds_speech(self._window):
                return None
            self.began, self._last = max(self._ended, float(syllables[0]) - _SYLLABLE), float(syllables[-1])
            return Change("started", self.began)
        self._last = max(self._last, *map(float, syllables[-1:]))
        if self._now - self._last < self._silence and self._now - self.began < _LONGEST:
            return None
        self.began, self._ended, self._window = None, self._now, self._window[:0]
        return Change("stopped", self._ended)
