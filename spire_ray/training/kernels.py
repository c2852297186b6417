"""Variable-length flash attention on GPUs: flash-attn where it is installed, else PyTorch's. Legend: T tokens of all rows."""

from functools import cache
from inspect import signature
from typing import Any, Protocol

import torch


class Kernel(Protocol):
    """Causal attention within each document."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bounds: torch.Tensor,
        longest: int,
        scale: float,
        window: int = ...,
    ) -> torch.Tensor:
        """Query [T, heads, d], key and value [T, KV heads, d], bounds int32 [documents + 1] → [T, heads, d].

        `window` is how many tokens a token sees, itself included; it is given only where it matters.
        """


def installed() -> Kernel:
    """The best kernel there is."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return pytorch

    def flash(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bounds: torch.Tensor,
        longest: int,
        scale: float,
        window: int = 0,
    ) -> torch.Tensor:
        ends = (bounds, bounds, longest, longest)
        output: torch.Tensor = flash_attn_varlen_func(
            query, key, value, *ends, softmax_scale=scale, causal=True, window_size=(window - 1, 0)
        )
        return output

    return flash


def pytorch(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scale: float,
    window: int = 0,
) -> torch.Tensor:
    """`torch.nn.attention.varlen`; a window of 0 is none: (-1, 0) is causal, (w, 0) sees w tokens before its own."""
    from torch.nn.attention.varlen import varlen_attn

    options: dict[str, Any] = {"scale": scale, "window_size": (window - 1, 0)}
    if key.shape[1] != query.shape[1]:
        if _knows_groups():
            options["enable_gqa"] = True
        else:
            key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
    output = varlen_attn(query, key, value, bounds, bounds, longest, longest, **options)
    assert isinstance(output, torch.Tensor)
    return output


@cache
def _knows_groups() -> bool:
    """PyTorch 2.11 has no `enable_gqa`, 2.12 has."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in signature(varlen_attn).parameters
