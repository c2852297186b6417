"""Waveforms → units: encoder, nearest centroid, run lengths."""

from dataclasses import replace
from typing import Literal, overload

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoder import load_encoder
from spire_ray.units.kmeans import Assigner

Units = tuple[np.ndarray, np.ndarray]
"""Deduplicated units uint16 [n] and their durations in frames, uint16 [n]."""


_DTYPES: dict[str, Literal["float32", "bfloat16"]] = {"float32": "float32", "bfloat16": "bfloat16"}


class Labeler:
    """A codebook at work, with its encoder loaded on one device."""

    def __init__(self, codebook: Codebook, device: str = "cpu", batch_seconds: float = 240.0) -> None:
        self.encoder = load_encoder(codebook.encoder, device)
        # a folder may be called anything: the hash of the weights says which encoder it is
        loaded = replace(self.encoder.identity, encoder=codebook.fingerprint.identity.encoder)
        codebook.check_encoder(loaded, "the codebook")
        self.fingerprint = codebook.fingerprint
        self._assign = Assigner(codebook.centroids, device)
        self._batch_samples = batch_seconds * SAMPLE_RATE

    @classmethod
    def from_pretrained(
        cls,
        encoder: str,
        codebook: Codebook | str,
        layer: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        batch_seconds: float = 240.0,
    ) -> "Labeler":
        """The labeler of an encoder, a Hugging Face name or a folder, and a codebook or its folder.

        Layer and dtype are the codebook's unless given. Raises ValueError for a layer or an encoder that the codebook was
        not fitted on.
        """
        codebook = Codebook.load(codebook) if isinstance(codebook, str) else codebook
        settings = codebook.encoder
        if layer is not None and layer != settings.layer:
            raise ValueError(f"layer={layer}: the codebook was fitted on layer {settings.layer} of {settings.name}; leave it out")
        named = str(dtype or settings.dtype).removeprefix("torch.")
        if named not in _DTYPES:
            raise ValueError(f"dtype={named}: must be one of {', '.join(_DTYPES)}")
        revision = settings.revision if encoder == settings.name else ""
        settings = replace(settings, name=encoder, revision=revision, dtype=_DTYPES[named])
        return cls(replace(codebook, encoder=settings), device, batch_seconds)

    @overload
    def __call__(self, waveforms: list[np.ndarray], deduplicate: Literal[False] = False) -> list[np.ndarray]: ...

    @overload
    def __call__(self, waveforms: list[np.ndarray], deduplicate: Literal[True]) -> list[Units]: ...

    def __call__(self, waveforms: list[np.ndarray], deduplicate: bool = False) -> list[np.ndarray] | list[Units]:
        """Waveforms, each at least `encoder.shortest` samples → one int array of frame labels each, in order, or `Units`.

        Batches are formed of waveforms sorted by length, so that they depend on the given list alone.
        """
        order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
        labelled: dict[int, np.ndarray] = {}
        for batch in _batches(order, [len(w) for w in waveforms], self._batch_samples):
            frames = self.encoder.encode([waveforms[i] for i in batch])
            labels = np.split(self._assign(torch.cat(frames)), np.cumsum([len(f) for f in frames])[:-1])
            labelled.update(zip(batch, labels, strict=True))
        labels = [labelled[i] for i in range(len(waveforms))]
        return [codec.deduplicate(ids) for ids in labels] if deduplicate else labels


def _batches(order: list[int], lengths: list[int], budget: float) -> list[list[int]]:
    """Split an order by ascending length so that no padded batch exceeds the budget; a longer one stands alone."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
