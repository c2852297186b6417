"""Packed rows → tensors of one forward pass. Legend: B rows, L tokens in a row, N counted targets.

Documents in a row do not see each other: positions start at 0 in each, attention is causal within each, and no document
predicts the first token of the next. In a pack of kind `megatron` the row is one document.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from spire_ray.packs.pack import Row


@dataclass(frozen=True)
class LossWeights:
    """How much a target counts."""

    units: range = range(0)
    """Token ids of the units."""
    unit: float = 1.0
    text: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether every counted target weighs 1."""
        return self.unit == self.text == 1.0


@dataclass(frozen=True)
class Batch:
    """What the model and the loss read."""

    input_ids: torch.Tensor
    """int64 [B, L]."""
    position_ids: torch.Tensor
    """int64 [B, L], from 0 in each document."""
    documents: torch.Tensor
    """int64 [B, L]: number of the document in its row; each padding token is a document of its own."""
    cu_seqlens: torch.Tensor
    """int32 [documents + 1]: where documents, and stretches of padding, begin in the rows laid end to end."""
    targets: torch.Tensor
    """int64 [N]: places of the counted targets in the rows laid end to end; each is predicted by the token before it."""
    weights: torch.Tensor
    """float32 [N]: their weights."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def attention_mask(self) -> torch.Tensor:
        """Bool [B, 1, L, L]: True where a token may look."""
        length = self.documents.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.documents.device).tril()
        return ((self.documents[:, :, None] == self.documents[:, None, :]) & causal)[:, None]

    def masked(self) -> dict[str, Any]:
        """The arguments of a model that attends by mask."""
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "attention_mask": self.attention_mask()}

    def varlen_inputs(self) -> dict[str, Any]:
        """The arguments of a model that attends by cu_seqlens: the rows laid end to end, [1, B · L].

        The greatest length is the row's, whatever the documents are, so that a compiled model keeps its shapes.
        """
        return {
            "input_ids": self.input_ids.view(1, -1),
            "position_ids": self.position_ids.view(1, -1),
            "cu_seq_lens_q": self.cu_seqlens,
            "max_length_q": self.input_ids.shape[1],
        }


def collate(rows: Sequence[Row], weights: LossWeights | None = None, whole: bool = False) -> Batch:
    """Rows of one length → tensors; `whole` lets attention and positions run through the row."""
    weigh = weights or LossWeights()
    length = len(rows[0].input_ids)
    ids = np.stack([row.input_ids for row in rows])
    weight = np.stack([row.counted for row in rows]).astype(np.float32)
    if not weigh.plain:
        unit = (ids >= weigh.units.start) & (ids < weigh.units.stop)
        weight *= np.where(unit, weigh.unit, weigh.text).astype(np.float32)
    positions = np.zeros_like(ids)
    documents = np.zeros_like(ids)
    cu_seqlens = []
    for number, row in enumerate(rows):
        held = np.array([row.lengths.sum()]) if whole else row.lengths
        padding = length - held.sum()
        lengths = np.append(held, np.ones(padding, np.int64))
        starts = np.cumsum(lengths) - lengths
        positions[number] = np.arange(length) - np.repeat(starts, lengths)
        documents[number] = np.repeat(np.arange(len(lengths)), lengths)
        weight[number, starts] = 0
        cu_seqlens.append(number * length + starts[: len(held) + bool(padding)])
    cu_seqlens.append(np.array([ids.size]))
    weight = weight.reshape(-1)
    targets = np.flatnonzero(weight)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(documents),
        torch.from_numpy(np.concatenate(cu_seqlens).astype(np.int32)),
        torch.from_numpy(targets),
        torch.from_numpy(weight[targets]),
    )
