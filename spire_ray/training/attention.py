"""Attention of packed rows. Legend: T tokens of all rows, B rows, L tokens in a row.

On GPUs by the cu_seqlens of documents: variable-length flash attention, FlashAttention where flash-attn is installed, else the
kernel that comes with PyTorch (`torch.nn.attention.varlen`); both want bfloat16 or float16. On CPUs by mask
(`Batch.attention_mask`) in short rows, and document by document in longer ones.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from spire_ray.training.batch import Batch

_VARLEN = "spire_packed"
_ON_CPU = "spire_cpu"
_SHORT = 128
"""Tokens of a row up to which a CPU holds its scores as one matrix, documents that do not see each other included."""

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, float | None], torch.Tensor]
"""Query [T, heads, d], key and value [T, KV heads, d], cu_seqlens int32 [documents + 1], longest, scale → [T, heads, d]."""


def use_varlen(model: PreTrainedModel, kernel: Kernel | None = None) -> None:
    """Let a model attend by cu_seqlens: its forward pass then takes what `Batch.varlen_inputs` gives."""
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

    AttentionInterface.register(_VARLEN, attend)
    model.set_attn_implementation(_VARLEN)


def on_cpu(model: PreTrainedModel) -> None:
    """Let a model on a CPU attend by mask in short rows and document by document in longer ones."""
    AttentionInterface.register(_ON_CPU, _cpu)
    model.set_attn_implementation(_ON_CPU)


def inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Any]:
    """The arguments of a model for a batch, as its attention wants them."""
    implementation, length = model.config._attn_implementation, batch.input_ids.shape[1]
    joined = implementation == _VARLEN or (implementation == _ON_CPU and length > _SHORT)
    return batch.varlen_inputs() if joined else batch.masked()


def _cpu(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Query [B, heads, L, d], key and value [B, KV heads, L, d], mask bool [B, 1, L, L] or cu_seqlens → [B, L, heads, d]."""
    heads, width = query.shape[1], query.shape[3]
    groups = heads // key.shape[1]
    if cu_seq_lens_q is not None:
        return _each_document(query, key, value, cu_seq_lens_q, scaling).transpose(1, 2), None
    assert attention_mask is not None
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


def _each_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Query [1, heads, T, d], key and value [1, KV heads, T, d] → [1, heads, T, d]."""
    lengths = [end - start for start, end in pairwise(cu_seqlens.tolist())]
    documents = zip(*(torch.split(tensor, lengths, 2) for tensor in (query, key, value)), strict=True)
    grouped = key.shape[1] != query.shape[1]
    outputs = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped) for q, k, v in documents]
    return torch.cat(outputs, 2)


def _installed() -> Kernel:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return _pytorch

    def flash(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, longest: int, scale: float | None
    ) -> torch.Tensor:
        output: torch.Tensor = flash_attn_varlen_func(
            query, key, value, cu_seqlens, cu_seqlens, longest, longest, softmax_scale=scale, causal=True
        )
        return output

    return flash


def _pytorch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    causal, grouped = (-1, 0), key.shape[1] != query.shape[1]
    output = varlen_attn(
        query, key, value, cu_seqlens, cu_seqlens, longest, longest, scale=scale, window_size=causal, enable_gqa=grouped
    )
    assert isinstance(output, torch.Tensor)
    return output
