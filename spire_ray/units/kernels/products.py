"""Products with fixed weights, which are packed once for the processor."""

from collections.abc import Callable

import torch
from torch.nn import functional

RowWise = Callable[..., torch.Tensor]
"""A function of single rows, which a compiler may fuse into one kernel."""


_ZERO, _TOP = 128, 255
"""The byte that stands for zero, and the largest one."""


def packs(weight: torch.Tensor) -> bool:
    """Whether oneDNN multiplies by these weights, for which it has an order of its own: a tenth faster without matrix units."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Linear:
    """Rows [N, in] → activation(rows · Wᵀ + b) [N, out], for W [out, in]; packed ones do `functional.gelu` in the same pass."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: RowWise | None = None) -> None:
        self._packed, self._bias = packs(weight), bias
        self._fused = "gelu" if self._packed and activation is functional.gelu else "none"
        self._activation = activation if self._fused == "none" else None
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        if self._packed:
            made = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, self._fused, [], "none")
        else:
            made = functional.linear(rows, self._weight, self._bias)
        return self._activation(made) if self._activation else made


class QuantizedLinear:
    """Rows [N, in] → rows · Wᵀ + b in bfloat16, of rows and weights [out, in] in eight bits, whose products are added exactly.

    For processors of `processor.fast_int8`, and some 130,000 inputs at most.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Each row of the weights has its own scale; `weight` is afterwards what they became."""
        self._bias, self._scales = bias, (weight.abs().amax(1) / 127).clamp_min(1e-30)
        whole = (weight / self._scales[:, None]).round()
        self.weight = whole * self._scales[:, None]
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._packed = torch.ops.onednn.qlinear_prepack(whole.to(torch.int8), None)

    def __call__(self, rows: torch.Tensor, step: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Also what the rows became: -128 to 127 steps, beyond which they are cut off; `step` is positive."""
        whole = rows.mul(1 / step).add_(_ZERO + 0.5).clamp_(0, _TOP).to(torch.uint8)
        made = torch.ops.onednn.qlinear_pointwise(
            whole, step, _ZERO, self._packed, self._scales, self._zeros, self._bias, 1.0, 0, torch.bfloat16, "none", [], ""
        )
        return made, whole.float().sub_(_ZERO).mul_(step)
