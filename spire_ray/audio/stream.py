"""Sound that comes bit by bit."""

import numpy as np
import soxr

from spire_ray.settings import SAMPLE_RATE


class Resampler:
    """Mono int16 [n] at any rate → int16 at 16 kHz, some hundredths of a second late."""

    def __init__(self, rate: int) -> None:
        self._stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16")

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next samples."""
        return samples if self._stream is None else np.asarray(self._stream.resample_chunk(samples))
