"""Attention of packed rows. Legend: T tokens of all rows, B rows, L tokens in a row.

On GPUs by the bounds of documents: variable-length flash attention, FlashAttention where flash-attn is installed, else the
kernel that comes with PyTorch (`torch.nn.attention.varlen`); both want bfloat16 or float16. On CPUs by mask
(`Batch.attention_mask`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

NAME = "spire_packed"
_MASKED = "spire_masked"
_SHORT = 512
"""Tokens of a row up to which scores are held as one matrix: a quarter of the time of PyTorch's CPU kernel at 128."""

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, float | None], torch.Tensor]
"""Query [T, heads, d], key and value [T, KV heads, d], bounds int32 [documents + 1], greatest length, scale → [T, heads, d]."""


def by_bounds(model: PreTrainedModel, kernel: Kernel | None = None) -> None:
    """Let a model attend by bounds: its forward pass then takes what `Batch.joined` gives."""
    chosen = kernel or _installed()

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        max_length_q: int = 0,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        assert cu_seq_lens_q is not None
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [1, heads, T, d] → [T, heads, d]
        return chosen(query, key, value, cu_seq_lens_q, max_length_q, scaling)[None], None

    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)


def by_mask(model: PreTrainedModel) -> None:
    """Let a model on a CPU attend by mask, as matrix products while rows are short."""
    AttentionInterface.register(_MASKED, _masked)
    model.set_attn_implementation(_MASKED)


def _masked(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Query [B, heads, L, d], key and value [B, KV heads, L, d], mask bool [B, 1, L, L] → [B, L, heads, d]."""
    heads, length, width = query.shape[1:]
    groups = heads // key.shape[1]
    if length > _SHORT:
        grouped = groups > 1
        output: torch.Tensor = scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling, enable_gqa=grouped)
        return output.transpose(1, 2), None
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    bias = torch.zeros(attention_mask.shape, dtype=query.dtype).masked_fill_(~attention_mask, -torch.inf)
    scores = torch.baddbmm(
        bias.expand(-1, heads, -1, -1).flatten(0, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=scaling or width**-0.5,
    )
    return (scores.softmax(-1) @ value.flatten(0, 1)).view_as(query).transpose(1, 2), None


def _installed() -> Kernel:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return _pytorch

    def flash(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, longest: int, scale: float | None
    ) -> torch.Tensor:
        output: torch.Tensor = flash_attn_varlen_func(
            query, key, value, bounds, bounds, longest, longest, softmax_scale=scale, causal=True
        )
        return output

    return flash


def _pytorch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    causal, grouped = (-1, 0), key.shape[1] != query.shape[1]
    output = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scale, window_size=causal, enable_gqa=grouped)
    assert isinstance(output, torch.Tensor)
    return output
