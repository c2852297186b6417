"""Attention of packed rows by the bounds of their documents, for GPUs. Legend: T tokens of all rows.

Variable-length flash attention: FlashAttention where flash-attn is installed, else the kernel that comes with PyTorch
(`torch.nn.attention.varlen`); both want bfloat16 or float16. Elsewhere packed rows are masked (`Batch.attention_mask`).
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

NAME = "spire_packed"

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
