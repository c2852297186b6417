"""The peer of `units.py`: the way of SpireLM, written anew from the facts."""

from collections.abc import Iterator

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.encoder import normalize

BATCH_SECONDS = 240


class Reference:
    """The way of SpireLM: padded batches, Hugging Face, the whole distance matrix."""

    def __init__(self, folder: str, codebook: Codebook, dtype: str, device: str) -> None:
        from transformers import AutoModel

        self._dtype, self._device = getattr(torch, dtype), device
        self._model = AutoModel.from_pretrained(folder, dtype=self._dtype).eval().to(device)
        self._model.encoder.layers = self._model.encoder.layers[: codebook.encoder.layer]
        if self._model.config.do_stable_layer_norm:
            self._model.encoder.layer_norm = torch.nn.Identity()
        centroids = torch.from_numpy(codebook.centroids.T.copy())
        self._centroids = centroids.to(device, self._dtype)
        self._squares = centroids.square().sum(0, keepdim=True).to(device, self._dtype)

    @torch.inference_mode()
    def __call__(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Waveforms → frame labels of each."""
        found: dict[int, list[int]] = {}
        for batch in _padded_batches(clips):
            waveforms = [torch.from_numpy(normalize(clips[i])) for i in batch]
            padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self._device, self._dtype)
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long().to(self._device)
            frames = self._model(padded, attention_mask=mask).last_hidden_state
            kept = self._model._get_feature_vector_attention_mask(frames.shape[1], mask)
            distances = frames.pow(2).sum(-1, keepdim=True) - 2 * torch.matmul(frames, self._centroids) + self._squares
            labels = distances.argmin(-1).masked_fill_(~kept, -1).cpu().tolist()
            found.update({i: [label for label in row if label >= 0] for i, row in zip(batch, labels, strict=True)})
        return [np.array(found[i]) for i in range(len(clips))]


def _padded_batches(clips: list[np.ndarray]) -> Iterator[list[int]]:
    """Clips by length, in batches of at most 240 s with their padding."""
    batch: list[int] = []
    for i in sorted(range(len(clips)), key=lambda i: len(clips[i])):
        if batch and (len(batch) + 1) * len(clips[i]) > BATCH_SECONDS * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(i)
    yield batch


def padding(clips: list[np.ndarray]) -> float:
    """Share of its batches that is padding."""
    batches = list(_padded_batches(clips))
    return 1 - sum(len(clip) for clip in clips) / sum(len(batch) * max(len(clips[i]) for i in batch) for batch in batches)
