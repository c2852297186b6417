"""Settings → encoder: of a kind without weights, or pre-trained, and with its pooling."""

import math
from dataclasses import replace

import numpy as np
import torch

from spire_ray.core import references
from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.encoders import ENCODERS, pretrained
from spire_ray.units.encoders.encoder import SpeechEncoder


def load_encoder(settings: EncoderSettings, device: str = "cpu") -> SpeechEncoder:
    """The encoder that the settings name, with its pooling. Raises ValueError for settings it cannot have."""
    if settings.pooling_width < 1:
        raise ValueError(f"encoder.pooling_width={settings.pooling_width}: must be 1 (no pooling) or more frames")
    encoder = _load(settings, device)
    return encoder if settings.pooling_width == 1 else Pooled(encoder, settings.pooling, settings.pooling_width)


def _load(settings: EncoderSettings, device: str) -> SpeechEncoder:
    if not references.has_weights(settings.name):
        return ENCODERS[settings.name](settings, None, device)
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
