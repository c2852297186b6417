"""Attention of packed clips, each to itself; of long clips the scores are never whole in memory."""

from collections.abc import Callable

import torch
from torch.nn import functional

from spire_ray.core import processor

Attend = Callable[[torch.Tensor], torch.Tensor]
"""Queries, keys and values of all clips, [N, 3 · heads · C] → [N, heads · C]."""
_SCORES = 1 << 20
"""Held at once, 2 MB: what the caches of a core or two hold."""


def packed_attention(lengths: list[int], heads: int, device: torch.device, dtype: torch.dtype) -> Attend:
    """The attention of clips of the given lengths, one after the other, by the fastest way of the device."""
    if dtype == torch.bfloat16 and device.type == "cuda":
        return _varlen(lengths, heads, device)
    few = dtype == torch.bfloat16 and device.type == "cpu" and processor.fast_bfloat16() and not processor.matrix_units()
    attend = chunked_sdpa if few else functional.scaled_dot_product_attention

    def each(qkv: torch.Tensor) -> torch.Tensor:
        clips = torch.split(qkv.view(len(qkv), 3, heads, -1).permute(1, 2, 0, 3), lengths, dim=2)
        return torch.cat([attend(*clip.contiguous()[:, None])[0].transpose(0, 1).flatten(1) for clip in clips])

    return each


def chunked_sdpa(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`scaled_dot_product_attention` of [1, heads, T, C] as plain products, for some heads and queries at a time.

    PyTorch's own kernel cuts these products into pieces that are too small for a processor which has AVX-512 for bfloat16 but no
    matrix units. Scores are bfloat16.
    """
    q, k, v = queries[0] * queries.shape[-1] ** -0.5, keys[0].transpose(1, 2), values[0]
    heads, count = max(1, _SCORES // k.shape[2] ** 2), max(1, _SCORES // k.shape[2])
    made = torch.empty_like(v)
    for h in range(0, len(q), heads):
        for t in range(0, q.shape[1], count):
            scores = torch.bmm(q[h : h + heads, t : t + count], k[h : h + heads])
            made[h : h + heads, t : t + count] = torch.bmm(torch.softmax(scores, -1), v[h : h + heads])
    return made[None]


def _varlen(lengths: list[int], heads: int, device: torch.device) -> Attend:
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32, non_blocking=True)
    longest = max(lengths)

    def packed(qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = qkv.view(len(qkv), 3, heads, -1).unbind(1)
        made = varlen_attn(q, k, v, ends, ends, longest, longest)
        assert isinstance(made, torch.Tensor)
        return made.flatten(1)

    return packed
