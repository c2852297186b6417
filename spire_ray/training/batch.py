"""Packed rows → tensors of one forward pass. Legend: B rows, L tokens in a row.

Documents in a row do not see each other: positions start at 0 in each, attention is causal within each, and no document
predicts the first token of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from spire_ray.text.pack import Row


@dataclass(frozen=True)
class Batch:
    """What the model and the loss read."""

    input_ids: torch.Tensor
    """int64 [B, L]."""
    position_ids: torch.Tensor
    """int64 [B, L], from 0 in each document."""
    documents: torch.Tensor
    """int64 [B, L]: number of the document in its row; each padding token is a document of its own."""
    weights: torch.Tensor
    """float32 [B, L]: weight of token t as a target, 0 at the start of each document and where it is not counted."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def attention_mask(self) -> torch.Tensor:
        """Bool [B, 1, L, L]: True where a token may look."""
        length = self.documents.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.documents.device).tril()
        return ((self.documents[:, :, None] == self.documents[:, None, :]) & causal)[:, None]


def collate(rows: Sequence[Row], units: range = range(0), unit_weight: float = 1.0) -> Batch:
    """Rows of one length → tensors; `units` are the token ids of units, whose targets get `unit_weight`."""
    length = len(rows[0].input_ids)
    ids = np.stack([row.input_ids for row in rows])
    weights = np.stack([row.counted for row in rows]).astype(np.float32)
    if unit_weight != 1.0:
        weights[(ids >= units.start) & (ids < units.stop)] *= unit_weight
    positions = np.zeros_like(ids)
    documents = np.zeros_like(ids)
    for number, row in enumerate(rows):
        lengths = np.append(row.lengths, np.ones(length - row.lengths.sum(), np.int64))
        starts = np.cumsum(lengths) - lengths
        positions[number] = np.arange(length) - np.repeat(starts, lengths)
        documents[number] = np.repeat(np.arange(len(lengths)), lengths)
        weights[number, starts] = 0
    return Batch(*(torch.from_numpy(array) for array in (ids, positions, documents, weights)))
