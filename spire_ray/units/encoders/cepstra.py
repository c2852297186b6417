"""Mel-frequency cepstra as frames: the quickstart's encoder, which needs no weights.

13 cepstra every 10 ms (25 ms Hann window, 26 mel bands), mean and variance normalized over the utterance, with
neighbouring vectors stacked. One frame every `hop_ms`.
"""

import json
import math

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.encoders import ENCODERS, options
from spire_ray.units.fingerprint import Identity, content_hash

_WINDOW, _STEP, _FFT = 400, 160, 512
_BANDS, _CEPSTRA = 26, 13


class CepstralEncoder:
    """Waveforms → [T, 13 · context]; T = cepstra / (hop / 10 ms), rounded, and at least one."""

    shortest = _WINDOW

    def __init__(self, settings: EncoderSettings) -> None:
        hop, context = options(settings, hop_ms=20, context=5).values()
        if hop % 10 or hop <= 0:
            raise ValueError(f"encoder.options.hop_ms={hop}: must be a positive multiple of 10")
        if context % 2 == 0 or context < 1:
            raise ValueError(f"encoder.options.context={context}: must be odd, the frame itself and as many on each side")
        self._stride = hop // 10
        self._context = context
        shape = {"window": _WINDOW, "bands": _BANDS, "cepstra": _CEPSTRA, "context": context}
        self.identity = Identity(
            encoder="mfcc",
            weights=content_hash([json.dumps(shape, sort_keys=True).encode()]),
            layer=0,
            norm="cmvn",
            waveform="none",
            frame_rate=1000 / hop,
        )
        self._taper = torch.hann_window(_WINDOW)
        self._mel = _mel_filters()
        self._dct = _cosines()

    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""
        return [self._frames(torch.from_numpy(np.ascontiguousarray(w, np.float32))) for w in waveforms]

    def _frames(self, waveform: torch.Tensor) -> torch.Tensor:
        emphasised = torch.cat([waveform[:1], waveform[1:] - 0.97 * waveform[:-1]])
        windows = emphasised.unfold(0, _WINDOW, _STEP) * self._taper
        power = torch.fft.rfft(windows, n=_FFT).abs().square()
        cepstra = (power @ self._mel).clamp_min(1e-10).log() @ self._dct
        cepstra = (cepstra - cepstra.mean(0)) / (cepstra.std(0, correction=0) + 1e-5)
        side = self._context // 2
        padded = torch.cat([cepstra[:1].expand(side, -1), cepstra, cepstra[-1:].expand(side, -1)])
        stacked = padded.unfold(0, self._context, 1).transpose(1, 2).flatten(1)
        return stacked[self._stride // 2 :: self._stride].contiguous() if len(stacked) > self._stride // 2 else stacked[:1]


def _mel_filters() -> torch.Tensor:
    """Triangular filters [FFT bins, bands] between 20 Hz and the Nyquist frequency on the HTK mel scale."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (20, SAMPLE_RATE / 2))
    edges = 700 * (10 ** (torch.linspace(low, high, _BANDS + 2) / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0)


def _cosines() -> torch.Tensor:
    """DCT-II [bands, cepstra], orthonormal."""
    band = torch.arange(_BANDS) + 0.5
    cosines = torch.cos(math.pi / _BANDS * band[:, None] * torch.arange(_CEPSTRA)) * math.sqrt(2 / _BANDS)
    cosines[:, 0] /= math.sqrt(2)
    return cosines


ENCODERS.register("mfcc", lambda settings, weights, device: CepstralEncoder(settings))
