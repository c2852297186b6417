"""Next-token loss over counted tokens only. Legend: T tokens of all rows, N counted targets, V vocabulary.

The loss of a step is the weighted sum over its counted tokens divided by the sum of their weights in the whole global
batch, so it depends neither on the number of workers nor on how rows are spread over micro-batches. Logits of all
targets never exist at once: they are made and forgotten in chunks, or inside Liger's fused kernel where that is installed.
"""

from importlib.util import find_spec

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from spire_ray.training import attention, families
from spire_ray.training.batch import Batch
from spire_ray.training.head import LogitChange, fused_sum

_LOGITS_AT_ONCE = 1 << 26
"""Elements, 256 MB in float32."""


class PackedLoss(torch.nn.Module):
    """A causal language model whose forward pass is the loss of a packed batch.

    `fused` takes Liger's linear cross-entropy; see `can_fuse`. Raises ValueError for a model that it would train otherwise
    than the model's own loss (`spire_ray.training.families`).
    """

    def __init__(self, model: PreTrainedModel, fused: bool = False, logits_at_once: int = _LOGITS_AT_ONCE) -> None:
        super().__init__()
        families.require(model.config.to_dict())
        if not attention.packed(model):
            attention.on_cpu(model)
        self.model = model
        self._change = LogitChange.of(model.config)
        self._fused = fused
        self._logits_at_once = logits_at_once

    def forward(self, batch: Batch, each: bool = False) -> torch.Tensor:
        """Weighted sum of the negative log-likelihood of the counted targets, a float32 scalar; that of `each`, float32 [N]."""
        hidden, ids = self._states(batch)
        if self._fused and not each:
            return fused_sum(self.model.get_output_embeddings(), hidden, ids)
        chunks = self._chunks(batch)
        parts = list(zip(*(tensor.tensor_split(chunks) for tensor in (hidden, ids, batch.weights)), strict=True))
        if each:
            return torch.cat([self._each(states, targets) for states, targets, _ in parts])
        if chunks == 1:
            return self._weighted_sum(*parts[0])
        sums = [checkpoint(self._weighted_sum, *part, use_reentrant=False) for part in parts]
        return torch.stack(sums).sum()

    def _states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [N, d] that predict the targets, and the targets' ids [N]."""
        inputs = attention.inputs(self.model, batch)
        hidden = self.model.base_model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
        return hidden.index_select(0, batch.targets - 1), batch.input_ids.view(-1)[batch.targets]

    def _each(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        logits = self._change(self.model.get_output_embeddings()(hidden)).float()
        return torch.nn.functional.cross_entropy(logits, ids, reduction="none")

    def _weighted_sum(self, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (self._each(hidden, ids) * weights).sum()

    def _chunks(self, batch: Batch) -> int:
        """How many parts the logits come in: a matter of the batch's shape alone, as all workers must agree under ZeRO-3."""
        return -(-batch.input_ids.numel() * int(self.model.config.vocab_size) // self._logits_at_once)


def can_fuse(model: PreTrainedModel, plain: bool, partitioned: bool) -> bool:
    """Whether Liger's kernel fits a training on GPUs.

    It adds up targets of one weight over logits that stay as they are, and reads the whole matrix of the head, which ZeRO-3
    keeps in partitions.
    """
    whole = type(model.get_output_embeddings()) is torch.nn.Linear and not partitioned
    return plain and whole and LogitChange.of(model.config).none and find_spec("liger_kernel") is not None
