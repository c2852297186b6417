"""From hidden states to the loss of targets, as a family's own forward pass has it. Legend: N targets, d hidden size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig


@dataclass(frozen=True)
class LogitChange:
    """What a family does to the product of hidden states and output matrix."""

    factor: float = 1.0
    """Granite divides, Cohere multiplies."""
    cap: float | None = None
    """Logits l become c · tanh(l / c): Gemma 2, NanoChat."""

    @staticmethod
    def of(config: PreTrainedConfig) -> "LogitChange":
        """From the configuration of a model."""
        given = {name: getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping")}
        factor = (1.0 if given["logit_scale"] is None else given["logit_scale"]) / (given["logits_scaling"] or 1.0)
        return LogitChange(factor, given["final_logit_softcapping"])

    @property
    def none(self) -> bool:
        """Whether logits stay as they are."""
        return self.factor == 1 and self.cap is None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of any shape, changed."""
        logits = logits if self.factor == 1 else logits * self.factor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def fused_sum(head: nn.Linear, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Summed negative log-likelihood by Liger's kernel, which never holds the logits: hidden [N, d], ids [N] → float32.

    Its gradient of the matrix is added up over chunks, in float32 as the sum of thousands of bfloat16 terms loses digits.
    Without targets it would divide by their number; the zero still reaches the matrix, as ZeRO waits for every gradient.
    """
    if not len(ids):
        return (hidden.float().sum() + head.weight[:1].float().sum()) * 0.0
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    loss: Any = LigerFusedLinearCrossEntropyLoss(reduction="sum", accum_dtype=torch.float32)
    total: torch.Tensor = loss(head.weight, hidden, ids, head.bias)
    return total.float()
