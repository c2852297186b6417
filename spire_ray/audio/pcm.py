"""16-bit samples: the form in which audio travels between processes and waits for the encoder."""

import numpy as np

_FULL_SCALE = 32768


def to_pcm(waveform: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] → int16."""
    scaled = waveform * _FULL_SCALE
    np.round(scaled, out=scaled)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled).astype(np.int16)


def from_pcm(samples: np.ndarray) -> np.ndarray:
    """int16 → float32 in [-1, 1], exactly."""
    return np.asarray(np.divide(samples, _FULL_SCALE, dtype=np.float32))
