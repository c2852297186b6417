"""Is there speech? Models invent sentences for silence and noise, so these are never put to them.

Speech has what noise of any color has not: stretches with a pitch, and a loudness that changes with the syllables. A hum and
a tone have a pitch, but no syllables; a knock has neither. Whispering has no pitch and is taken for noise.
"""

from functools import cache

import numpy as np

from spire_ray.audio.pcm import from_pcm
from spire_ray.settings import SAMPLE_RATE

_FRAME, _HOP = 480, 160
"""30 and 10 ms."""
_LAGS = (SAMPLE_RATE // 400, SAMPLE_RATE // 70)
"""Of pitches from 70 to 400 Hz."""
_SPEECH_BAND = (100, 2000)
"""Hz, where voices are far above noise."""
_FLOOR = 10**-7.5
"""Power of -75 dB of full scale in that band: quieter frames are silence."""
_PERIODIC = 0.5
"""Correlation of a frame with itself one period later; of vowels it is mostly above 0.7."""
_VOICED_FRAMES, _AMONG = 7, 10
"""A short syllable: so many frames of so many in a row."""
_SMOOTHED = 5
"""Frames over which loudness is averaged."""
_RANGE_DB = 6.0
"""Between quiet and loud moments; of steady noise it is below 5, of speech 5 dB above noise 16."""
_AT_ONCE = 100 * SAMPLE_RATE
"""Samples looked at together, so that memory is bounded."""


def holds_speech(samples: np.ndarray) -> bool:
    """Whether a waveform at 16 kHz, float32 or int16 [samples], holds speech, by its pitch and its loudness."""
    power, syllable = _syllables(samples)
    if not syllable.any():
        return False
    loudness = 10 * np.log10(np.convolve(power, np.ones(_SMOOTHED) / _SMOOTHED, "valid") + _FLOOR / 10)
    low, high = np.percentile(loudness, [5, 95])
    return bool(max(high - low, loudness.max() - np.median(loudness)) > _RANGE_DB)


def syllable_times(samples: np.ndarray) -> np.ndarray:
    """Seconds in a waveform, as above, up to which there is a syllable; a hum and a tone are taken for one, too."""
    return (np.flatnonzero(_syllables(samples)[1]) * _HOP + _FRAME) / SAMPLE_RATE


def _syllables(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of each frame, and whether a syllable ends there or goes on."""
    waveform = from_pcm(samples) if samples.dtype == np.int16 else np.asarray(samples, np.float32)
    if len(waveform) < _FRAME + _AMONG * _HOP:
        return np.zeros(0), np.zeros(0, bool)
    parts = [_looked_at(waveform[start : start + _AT_ONCE + _FRAME]) for start in range(0, len(waveform) - _FRAME, _AT_ONCE)]
    power = np.concatenate([part[0] for part in parts])
    pitched = np.concatenate([part[1] for part in parts]) > _PERIODIC
    pitched &= power > max(_FLOOR, float(power.max()) / 1000)
    return power, np.convolve(pitched, np.ones(_AMONG))[: len(pitched)] >= _VOICED_FRAMES


def _looked_at(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of each frame in the band of speech, and its highest normalized autocorrelation at a lag of a pitch."""
    transform, correlate, overlap = _tables()
    frames = np.lib.stride_tricks.sliding_window_view(waveform, _FRAME)[::_HOP]
    waves = np.square((frames - frames.mean(axis=1, keepdims=True)) @ transform)
    spectrum = waves[:, : len(correlate)] + waves[:, len(correlate) :]
    correlation = spectrum @ correlate
    normalized = correlation[:, 1:] / (correlation[:, :1] * overlap + 1e-20)
    return spectrum.sum(axis=1) / _FRAME**2, np.asarray(normalized.max(axis=1))


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame → cosine and sine parts of its spectrum in the band; spectrum → autocorrelation at lag 0 and those of a pitch.

    And the overlap at these lags. Few frequencies and lags are wanted, so that products take a fifth of the time of two
    Fourier transforms: 0.8 ms for two seconds instead of 3.9 on one core.
    """
    frequency = np.fft.rfftfreq(2 * _FRAME, 1 / SAMPLE_RATE)
    band = np.flatnonzero((frequency >= _SPEECH_BAND[0]) & (frequency <= _SPEECH_BAND[1]))
    lags = np.array([0, *range(*_LAGS)])
    turn = np.pi * band / _FRAME
    angles = np.outer(np.arange(_FRAME), turn)
    transform = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    # high harmonics count, too: noise that rumbles has no pitch
    correlate = np.cos(np.outer(turn, lags)) * frequency[band, None]
    return transform.astype(np.float32), correlate.astype(np.float32), (1 - lags[1:] / _FRAME).astype(np.float32)
