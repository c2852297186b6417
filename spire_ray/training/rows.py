"""Embedding and output matrices in two parts: the rows a model came with, and the new ones of its extension.

As a parameter of their own the new rows can be trained alone or with a rate of their own. (Scaling their gradients would
do nothing under Adam.) The parts are joined in the forward pass, and for good when the model is exported.
Legend: V old rows, U new rows, d hidden size.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

NEW = ".new_rows"
"""End of the name of a part that holds new rows; the old ones keep the name `….weight`."""


class _Split(nn.Module):
    def __init__(self, weight: nn.Parameter, new_rows: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight  # [V, d]
        self.new_rows = new_rows  # [U, d]

    def joined(self) -> torch.Tensor:
        """[V + U, d]."""
        return torch.cat([self.weight, self.new_rows])


class SplitEmbedding(_Split):
    """Token ids → hidden states."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 [...] → [..., d]."""
        return nn.functional.embedding(ids, self.joined())


class SplitHead(_Split):
    """Hidden states → logits."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., d] → [..., V + U]."""
        return nn.functional.linear(hidden, self.joined())


def split(model: PreTrainedModel, first_new_token_id: int) -> list[nn.Parameter]:
    """Split embedding and head before row `first_new_token_id`; returns the new parts, one if the two matrices are tied."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ValueError("training.trainable: the model's output layer has a bias, which cannot be split")
    old, new = _parts(embedding.weight, first_new_token_id)
    model.set_input_embeddings(SplitEmbedding(old, new))
    if head.weight is embedding.weight:
        model.set_output_embeddings(SplitHead(old, new))
        return [new]
    old, new_head = _parts(head.weight, first_new_token_id)
    model.set_output_embeddings(SplitHead(old, new_head))
    return [new, new_head]


def _parts(weight: nn.Parameter, first_new_token_id: int) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(weight.detach()[:first_new_token_id].clone()), nn.Parameter(weight.detach()[first_new_token_id:].clone())
