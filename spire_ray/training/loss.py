"""Next-token loss over counted tokens only.

The loss of a step is the weighted sum over its counted tokens divided by the sum of their weights in the whole global
batch, so it depends neither on the number of workers nor on how rows are spread over micro-batches.
"""

import torch
from transformers import PreTrainedModel

from spire_ray.training.batch import Batch


class PackedLoss(torch.nn.Module):
    """A causal language model whose forward pass is the loss of a packed batch."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        """Weighted sum of the negative log-likelihood of the counted tokens, a float32 scalar.

        Logits are computed for counted targets only: [counted, vocabulary] instead of [B, L, vocabulary].
        """
        hidden = self.model.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask(),
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
        weights = batch.weights[:, 1:]
        counted = weights > 0
        logits = self.model.lm_head(hidden[:, :-1][counted]).float()
        losses = torch.nn.functional.cross_entropy(logits, batch.input_ids[:, 1:][counted], reduction="none")
        return (losses * weights[counted]).sum()
