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
    """Token ids → hidden states, scaled as the embedding scaled them (Gemma)."""

    def __init__(self, weight: nn.Parameter, new_rows: nn.Parameter, of: nn.Embedding) -> None:
        super().__init__(weight, new_rows)
        self.embed_scale: torch.Tensor | None
        self.padding_idx = of.padding_idx
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


def split(model: PreTrainedModel, first_new_token_id: int) -> list[nn.Parameter]:
    """Split embedding and head before row `first_new_token_id`; returns the new parts, one if the two matrices are tied.

    Raises ValueError for matrices whose parts would not do what the whole does.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None:
        raise ValueError("training.trainable: the model's output layer has a bias, or is no plain matrix, and cannot be split")
    parts = _parts(embedding.weight, first_new_token_id)
    both = SplitEmbedding(*parts, embedding)
    _require_same(embedding, both)
    model.set_input_embeddings(both)
    if head.weight is embedding.weight:
        model.set_output_embeddings(SplitHead(*parts))
        return [parts[1]]
    of_head = _parts(head.weight, first_new_token_id)
    model.set_output_embeddings(SplitHead(*of_head))
    return [parts[1], of_head[1]]


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


def _parts(weight: nn.Parameter, first_new_token_id: int) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(weight.detach()[:first_new_token_id].clone()), nn.Parameter(weight.detach()[first_new_token_id:].clone())
