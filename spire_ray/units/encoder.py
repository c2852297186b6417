"""Speech encoders: waveforms → frames.

Two kinds behind one protocol: a Hugging Face encoder of the HuBERT / wav2vec 2.0 family cut at a layer, and mel-frequency
cepstra, which need no weights and serve the quickstart. Legend: T frames, d dimensions.
"""

from typing import Protocol

import numpy as np
import torch

from spire_ray.fingerprint import Identity
from spire_ray.settings import SAMPLE_RATE, Encoder


class SpeechEncoder(Protocol):
    """Turns mono float32 waveforms at 16 kHz into frames."""

    identity: Identity
    shortest: int
    """Samples that make at least one frame."""

    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """Waveforms → float32 [T, d] on the CPU or the encoder's device, one for each, in order."""
        ...


def load_encoder(settings: Encoder, device: str = "cpu") -> SpeechEncoder:
    """The encoder that the settings name. Raises ValueError for settings it cannot have."""
    if settings.name == "mfcc":
        from spire_ray.units.cepstra import CepstralEncoder

        return CepstralEncoder(settings)
    from spire_ray.units.ssl_encoder import SelfSupervisedEncoder

    return SelfSupervisedEncoder(settings, device)


def normalise(waveform: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the utterance, as `Wav2Vec2FeatureExtractor` does it."""
    waveform = waveform.astype(np.float32)
    return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7))


def seconds(waveforms: list[np.ndarray]) -> float:
    """Audio in a batch."""
    return sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE
