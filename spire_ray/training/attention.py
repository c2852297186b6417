"""Attention of packed rows. Legend: T tokens of all rows, B rows, L tokens in a row.

On GPUs by the cu_seqlens of documents: variable-length flash attention, FlashAttention where flash-attn is installed, else the
kernel that comes with PyTorch (`spire_ray.training.kernels`); both want bfloat16 or float16. On CPUs by mask
(`Batch.attention_mask`) in short rows, and document by document in longer ones.

What a model asks of its attention (scale, sliding window, softcapping, sinks) is honoured on every path; what is not
understood is refused, never dropped.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from spire_ray.training import families
from spire_ray.training.batch import Batch
from spire_ray.training.kernels import Kernel, installed

_VARLEN = "spire_packed"
_ON_CPU = "spire_cpu"
_SHORT = 128
"""Tokens of a row up to which a CPU holds its scores as one matrix, documents that do not see each other included."""

_HARMLESS = {"position_ids", "use_cache", "output_attentions", "cu_seq_lens_k", "max_length_k"}
"""Arguments that models pass to every attention and that change nothing where documents are laid end to end."""


@dataclass(frozen=True)
class Demand:
    """What one layer asks of its attention."""

    scale: float
    window: int | None = None
    """Tokens that a token sees, itself included."""
    softcap: float | None = None
    """Scores s become c · tanh(s / c)."""
    sinks: torch.Tensor | None = None
    """[heads]: a score that takes its share of the softmax and gives nothing (gpt-oss)."""

    @property
    def plain(self) -> bool:
        """Whether kernels know all of it."""
        return self.softcap is None and self.sinks is None

    @staticmethod
    def read(module: torch.nn.Module, query: torch.Tensor, scaling: float | None, arguments: dict[str, Any]) -> "Demand":
        """From the arguments of an attention function. Raises ValueError for one that is not understood."""
        asked = {name: value for name, value in arguments.items() if value is not None and value is not False}
        if arguments.get("is_causal", getattr(module, "is_causal", None)) is False:
            raise ValueError(f"model: {type(module).__name__} looks ahead; only causal models can be trained")
        asked.pop("is_causal", None)
        if dropout := asked.pop("dropout", 0):
            raise ValueError(f"model: attention dropout {dropout} is not supported; set it to 0 in the model's config.json")
        known = Demand(
            query.shape[-1] ** -0.5 if scaling is None else scaling,
            # Qwen2-MoE hands its window to the mask alone
            asked.pop("sliding_window", None) if "sliding_window" in arguments else getattr(module, "sliding_window", None),
            asked.pop("softcap", None),
            asked.pop("s_aux", None),
        )
        if unknown := sorted(asked.keys() - _HARMLESS):
            raise ValueError(
                f"model: {type(module).__name__} asks its attention for {', '.join(unknown)}, which is not supported"
            )
        return known


def use_varlen(model: PreTrainedModel, kernel: Kernel | None = None) -> None:
    """Let a model attend by cu_seqlens: its forward pass then takes what `Batch.varlen_inputs` gives."""
    _register(model, _VARLEN, kernel or installed())


def on_cpu(model: PreTrainedModel) -> None:
    """Let a model attend by mask in short rows and document by document in longer ones: on CPUs, and on GPUs in float32."""
    _register(model, _ON_CPU, None)


def inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Any]:
    """The arguments of a model for a batch, as its attention wants them."""
    implementation, length = model.config._attn_implementation, batch.input_ids.shape[1]
    joined = implementation == _VARLEN or (implementation == _ON_CPU and length > _SHORT)
    return batch.varlen_inputs() if joined and families.takes_bounds(model.config.model_type) else batch.masked()


def packed(model: PreTrainedModel) -> bool:
    """Whether a model attends by this module."""
    return model.config._attn_implementation in (_VARLEN, _ON_CPU)


def _register(model: PreTrainedModel, name: str, kernel: Kernel | None) -> None:
    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        max_length_q: int = 0,
        **arguments: Any,
    ) -> tuple[torch.Tensor, None]:
        """Query [B, heads, L, d], key and value [B, KV heads, L, d], mask bool [B, 1, L, L] or cu_seqlens → [B, L, heads, d]."""
        demand = Demand.read(module, query, scaling, arguments)
        if cu_seq_lens_q is None:
            if attention_mask is None or attention_mask.dtype != torch.bool:
                raise ValueError(f"model: {type(module).__name__} does not pass the cu_seqlens of documents on, nor their mask")
            output = _products(query, key, value, attention_mask, demand)
        elif kernel is None or not demand.plain:
            output = _each_document(query, key, value, cu_seq_lens_q, demand)
        else:
            output = _by_kernel(kernel, query, key, value, cu_seq_lens_q, max_length_q, demand)
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register(name, attend)
    model.set_attn_implementation(name)


def _by_kernel(
    kernel: Kernel,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    longest: int,
    demand: Demand,
) -> torch.Tensor:
    """Query [1, heads, T, d], key and value [1, KV heads, T, d] → [1, heads, T, d]."""
    width = value.shape[3]
    if width < query.shape[3]:  # latent attention; kernels want one width
        value = torch.nn.functional.pad(value, (0, query.shape[3] - width))
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    narrow = {"window": demand.window} if demand.window and demand.window < longest else {}
    return kernel(query, key, value, cu_seqlens, longest, demand.scale, **narrow).transpose(0, 1)[None, ..., :width]


def _each_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, demand: Demand
) -> torch.Tensor:
    """Query [1, heads, T, d], key and value [1, KV heads, T, d] → [1, heads, T, d]."""
    lengths = [end - start for start, end in pairwise(cu_seqlens.tolist())]
    documents = zip(*(torch.split(tensor, lengths, 2) for tensor in (query, key, value)), strict=True)
    return torch.cat([_document(q, k, v, demand) for q, k, v in documents], 2)


def _document(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, demand: Demand) -> torch.Tensor:
    """The same for one document."""
    length = query.shape[2]
    narrow = demand.window is not None and demand.window < length
    if demand.plain and not narrow:
        grouped = key.shape[1] != query.shape[1]
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=demand.scale, enable_gqa=grouped)
    causal = torch.ones(1, 1, length, length, dtype=torch.bool, device=query.device).tril()
    return _products(query, key, value, causal, demand)


def _products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor, demand: Demand) -> torch.Tensor:
    """Plain products: query [B, heads, L, d], key and value [B, KV heads, L, d], mask [B, 1, L, L] → [B, heads, L, d]."""
    heads, length = query.shape[1:3]
    if (groups := heads // key.shape[1]) > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    if demand.window is not None and demand.window < length:
        visible = visible & torch.ones_like(visible).triu(1 - demand.window)
    bias = torch.zeros(visible.shape, dtype=query.dtype, device=query.device).masked_fill_(~visible, -torch.inf)
    flat = [tensor.flatten(0, 1) for tensor in (query, key, value)]
    keys = flat[1].transpose(1, 2)
    rows = bias.expand(-1, heads, -1, -1).flatten(0, 1)
    if demand.softcap is None:
        scores = torch.baddbmm(rows, flat[0], keys, alpha=demand.scale)
    else:
        scores = rows + demand.softcap * torch.tanh(torch.bmm(flat[0], keys) * (demand.scale / demand.softcap))
    if demand.sinks is not None:
        sinks = demand.sinks.to(scores.dtype).repeat(query.shape[0])[:, None, None].expand(-1, length, 1)
        scores = torch.cat([scores, sinks], -1)
    shares = scores.softmax(-1)[..., :length]
    return (shares @ flat[2]).view(-1, heads, length, value.shape[3])
