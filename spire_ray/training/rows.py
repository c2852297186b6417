"""Embedding and output matrices in two parts: the rows a model came with, and the new ones of its extension.

As a parameter of their own the new rows can be trained alone or with a rate of their own. (Scaling their gradients would
do nothing under Adam.) The parts are joined in the forward pass, and for good when the model is exported.
Among the old rows there may be some that the base model never trained, such as `<EOD>` or the chat words of a tokenizer that
brought them: those are counted among the new ones, and put in their places when the parts are joined.
Legend: V old rows, U new rows, K of the old ones to be trained with them, d hidden size.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

NEW = ".new_rows"
"""End of the name of a part that holds new rows; the old ones keep the name `….weight`."""


class _Split(nn.Module):
    def __init__(self, weight: torch.Tensor, first_new_token_id: int, also: Sequence[int]) -> None:
        super().__init__()
        matrix = weight.detach()
        self.weight = nn.Parameter(matrix[:first_new_token_id].clone())  # [V, d]
        self.new_rows = nn.Parameter(torch.cat([matrix[first_new_token_id:], matrix[list(also)]]))  # [U + K, d]
        self.also: torch.Tensor  # int64 [K]: places of the last K of them
        self.register_buffer("also", torch.tensor(also, dtype=torch.int64, device="cpu"), persistent=False)
        self._new = len(matrix) - first_new_token_id

    def joined(self) -> torch.Tensor:
        """[V + U, d]."""
        whole = torch.cat([self.weight, self.new_rows[: self._new]])
        if not len(self.also):
            return whole
        return whole.index_copy_(0, self.also.to(whole.device), self.new_rows[self._new :])


class SplitEmbedding(_Split):
    """Token ids → hidden states, scaled as the embedding scaled them (Gemma)."""

    def __init__(self, of: nn.Module, first_new_token_id: int, also: Sequence[int]) -> None:
        assert isinstance(of.weight, torch.Tensor)
        super().__init__(of.weight, first_new_token_id, also)
        self.embed_scale: torch.Tensor | None
        self.padding_idx = getattr(of, "padding_idx", None)
        scale = getattr(of, "embed_scale", None)
        self.register_buffer("embed_scale", None if scale is None else torch.as_tensor(scale).clone(), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 [...] → [..., d]."""
        found = nn.functional.embedding(ids, self.joined(), self.padding_idx)
        return found if self.embed_scale is None else found * self.embed_scale.to(self.weight.dtype)


class SplitHead(_Split):
    """Hidden states → logits."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., d] → [..., V + U]."""
        return nn.functional.linear(hidden, self.joined())


def split(model: PreTrainedModel, first_new_token_id: int, also: Sequence[int] = ()) -> list[nn.Parameter]:
    """Split embedding and head before row `first_new_token_id`; returns the new parts, one if the two matrices are tied.

    `also` are rows before it that are trained with the new ones. Raises ValueError for matrices whose parts would not do what
    the whole does.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None:
        raise ValueError("training.trainable: the model's output layer has a bias, or is no plain matrix, and cannot be split")
    both = SplitEmbedding(embedding, first_new_token_id, also)
    _require_same(embedding, both)
    of_head = SplitHead(head.weight, first_new_token_id, also)
    if head.weight is embedding.weight:
        of_head.weight, of_head.new_rows = both.weight, both.new_rows
    model.set_input_embeddings(both)
    model.set_output_embeddings(of_head)
    return list({id(part): part for part in (both.new_rows, of_head.new_rows)}.values())


def merge(old: torch.Tensor, new: torch.Tensor, also: Sequence[int]) -> torch.Tensor:
    """The whole matrix from the first V rows (at least) of `old` and what was trained, in the precision of that."""
    rows = len(new) - len(also)
    whole = torch.cat([old.to(new.dtype), new[:rows]])
    whole[list(also)] = new[rows:]
    return whole


def _require_same(embedding: nn.Module, both: SplitEmbedding) -> None:
    """Raise ValueError for an embedding that does more than look up and scale, tried on its first and last rows."""
    matrix = both.joined()
    if matrix.is_meta:
        return
    ids = torch.tensor([0, len(matrix) - 1], device=matrix.device)
    with torch.no_grad():
        if not torch.equal(embedding(ids), both(ids)):
            raise ValueError(
                f"training.trainable: the input layer of the model, {type(embedding).__name__}, does more than look up rows and "
                "cannot be split; use training.trainable=full without new_rows_lr"
            )
