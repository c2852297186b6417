"""Speech encoders: waveforms → frames.

Kinds are declared in modules of their own (`ENCODERS`): pre-trained encoders from Hugging Face, cut at a layer, and mel-frequency
cepstra, which need no weights and serve the quickstart. Legend: T frames, d dimensions.
"""

from typing import Protocol

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE
from spire_ray.units.fingerprint import Identity

NORMALIZE_EPS = 1e-7
"""Added to the variance of a waveform (`Wav2Vec2FeatureExtractor`)."""


class SpeechEncoder(Protocol):
    """Turns mono float32 waveforms at 16 kHz into frames."""

    identity: Identity
    shortest: int
    """Samples that make at least one frame."""

    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """Waveforms → float32 [T, d] on the CPU or the encoder's device, one for each, in order."""
        ...


def normalize(waveform: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the utterance, as `Wav2Vec2FeatureExtractor` does it."""
    waveform = waveform.astype(np.float32)
    return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + NORMALIZE_EPS))


def seconds(waveforms: list[np.ndarray]) -> float:
    """Audio in a batch."""
    return sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE
