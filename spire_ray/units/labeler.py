"""Waveforms → deduplicated units: encoder, nearest centroid, run lengths."""

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoder import load_encoder
from spire_ray.units.kmeans import Assigner


class Labeler:
    """A codebook at work, with its encoder loaded on one device."""

    def __init__(self, codebook: Codebook, device: str = "cpu", batch_seconds: float = 240.0) -> None:
        self.encoder = load_encoder(codebook.encoder, device)
        codebook.check_encoder(self.encoder.identity, "the codebook")
        self.fingerprint = codebook.fingerprint
        self._assign = Assigner(codebook.centroids, device)
        self._batch_samples = batch_seconds * SAMPLE_RATE

    def __call__(self, waveforms: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Waveforms, each at least `encoder.shortest` samples → (units, durations) for each, in order.

        Batches are formed of waveforms sorted by length, so that they depend on the given list alone.
        """
        order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
        labelled: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(waveforms)
        for batch in _batches(order, [len(w) for w in waveforms], self._batch_samples):
            frames = self.encoder.encode([waveforms[i] for i in batch])
            labels = np.split(self._assign(torch.cat(frames)), np.cumsum([len(f) for f in frames])[:-1])
            for i, ids in zip(batch, labels, strict=True):
                labelled[i] = codec.deduplicate(ids)
        return [pair for pair in labelled if pair is not None]


def _batches(order: list[int], lengths: list[int], budget: float) -> list[list[int]]:
    """Split an order by ascending length so that no padded batch exceeds the budget; a longer one stands alone."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
