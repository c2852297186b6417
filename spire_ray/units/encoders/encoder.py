"""Speech encoders: waveforms → frames.

Kinds are declared in modules of their own (`ENCODERS`): pre-trained encoders from Hugging Face, cut at a layer, and mel-frequency
cepstra, which need no weights and serve the quickstart. Legend: T frames, d dimensions.
"""

import math
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from spire_ray.core import references
from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.encoders import ENCODERS
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


def load_encoder(settings: EncoderSettings, device: str = "cpu") -> SpeechEncoder:
    """The encoder that the settings name, with its pooling. Raises ValueError for settings it cannot have."""
    if settings.pooling_width < 1:
        raise ValueError(f"encoder.pooling_width={settings.pooling_width}: must be 1 (no pooling) or more frames")
    encoder = _load(settings, device)
    return encoder if settings.pooling_width == 1 else Pooled(encoder, settings.pooling, settings.pooling_width)


def _load(settings: EncoderSettings, device: str) -> SpeechEncoder:
    if not references.has_weights(settings.name):
        return ENCODERS[settings.name](settings, None, device)
    from spire_ray.units.encoders import pretrained

    return pretrained.load(settings, device)


class Pooled:
    """An encoder whose neighbouring frames are joined, `width` into one; what is left at the end is dropped.

    SpireLM: AvgPool1d and MaxPool1d without ceil_mode.
    """

    def __init__(self, encoder: SpeechEncoder, kind: str, width: int) -> None:
        self._encoder, self._width = encoder, width
        self._join = torch.amax if kind == "max" else torch.mean
        self.shortest = encoder.shortest + width * math.ceil(SAMPLE_RATE / encoder.identity.frame_rate)
        rate = encoder.identity.frame_rate / width
        self.identity = replace(encoder.identity, pooling=f"{kind}{width}", frame_rate=rate)

    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""
        return [
            self._join(frames[: len(frames) // self._width * self._width].view(-1, self._width, frames.shape[1]), dim=1)
            for frames in self._encoder.encode(waveforms)
        ]


def normalize(waveform: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the utterance, as `Wav2Vec2FeatureExtractor` does it."""
    waveform = waveform.astype(np.float32)
    return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + NORMALIZE_EPS))


def seconds(waveforms: list[np.ndarray]) -> float:
    """Audio in a batch."""
    return sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE
