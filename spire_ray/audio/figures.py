"""Figures of a waveform: how far speech is above noise, and how much of it is clipped."""

import numpy as np

from spire_ray.audio.pcm import from_pcm
from spire_ray.settings import SAMPLE_RATE

_FRAME = SAMPLE_RATE // 50
"""20 ms."""
_QUIET, _LOUD = 5, 95
"""Percentiles of the frames' power that are taken for the noise alone and for speech with noise."""
_FLOOR = 1e-10
"""Power of -100 dB of full scale: below it is digital silence, to which no ratio is taken."""
_RUN = 3
"""So many equal samples in a row at one of the two extremes are clipped; fewer are a peak."""
_NEAR = 0.1
"""Of full scale: quieter waveforms are not clipped, they are quiet."""


def snr(samples: np.ndarray) -> float:
    """Signal to noise in dB of a waveform at 16 kHz, float32 or int16: loud frames without the noise against quiet ones.

    An estimate without a model, as NIST's STNR makes one: right for speech with pauses over steady noise, at most 100.
    """
    waveform = from_pcm(samples) if samples.dtype == np.int16 else samples
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    if not len(frames):
        return 0.0
    power = np.square(frames - frames.mean(axis=1, keepdims=True)).mean(axis=1)
    noise, loud = (max(float(value), _FLOOR) for value in np.percentile(power, [_QUIET, _LOUD]))
    return float(np.clip(10 * np.log10(max(loud - noise, _FLOOR) / noise), -20, 100))


def clipping(samples: np.ndarray) -> float:
    """Share of the samples that stand in runs at the highest or the lowest value of the waveform."""
    if len(samples) < _RUN:
        return 0.0
    waveform = from_pcm(samples) if samples.dtype == np.int16 else samples
    clipped = 0
    for edge in (waveform.max(), waveform.min()):
        if abs(edge) < _NEAR:
            continue
        at = np.concatenate([[False], waveform == edge, [False]])
        starts, ends = np.flatnonzero(~at[:-1] & at[1:]), np.flatnonzero(at[:-1] & ~at[1:])
        lengths = ends - starts
        clipped += int(lengths[lengths >= _RUN].sum())
    return clipped / len(samples)
