"""Cheap scores of all centroids, and how far off they can be. Legend: N frames, K clusters, d dimensions.

The score of a centroid is x·c - |c|²/2, up to a number of the frame; the largest score is that of the nearest centroid. What
rounding changed in a frame and in the centroids is measured; what adding up can change is bounded.
"""

import math
from typing import Protocol

import torch
from torch.nn import functional

from spire_ray.units.kernels.products import Linear, QuantizedLinear

SINGLE = 2.0**-24
"""Half the distance of 1 to the next float32, the largest relative error of one rounding."""
_NOTHING = -3e38
"""Score of the columns that are no centroid."""
_DEVIATIONS = 4
"""Standard deviations that eight bits hold: with fewer more is cut off, with more all is coarser."""


class Filter(Protocol):
    """A cheap product of frames and centroids that knows its error."""

    def __call__(self, frames: torch.Tensor, norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [N, d] and their norms → scores [N, columns] and the largest error [N] that one has before it is rounded."""


class RoundedFilter:
    """Scores by a product in bfloat16 or float32."""

    def __init__(self, centroids: torch.Tensor, half_norms: torch.Tensor, columns: int, dtype: torch.dtype) -> None:
        """Centroids [K, d], half their squared norms [K]; `columns` is K or more."""
        self._dtype, self._largest, self._largest_half = dtype, float(centroids.norm(dim=1).max()), float(half_norms.max())
        rounded = centroids.to(dtype)
        self._largest_change = float((centroids - rounded).norm(dim=1).max())
        biases, weights = _widened(half_norms, rounded, columns)
        # -|c|²/2 in parts that bfloat16 holds, and a column that takes the scale of the frame
        weights = torch.cat([weights, torch.stack(_parts(biases, dtype), 1), -torch.ones_like(weights[:, :1])], 1)
        self._fill = -weights.shape[1] % 32
        self._terms = weights.shape[1] + self._fill
        self._product = Linear(functional.pad(weights, (0, self._fill)), None)

    def __call__(self, frames: torch.Tensor, norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Filter`."""
        rounded = frames.to(self._dtype)
        scale = (norms.square() / 2).to(self._dtype)  # scores become distances: small where they count
        ones = rounded.new_ones(len(rounded), 3)
        scores = self._product(functional.pad(torch.cat([rounded, ones, scale[:, None]], 1), (0, self._fill)))
        sums = 4 * self._terms * SINGLE * (norms * self._largest + self._largest_half + scale)
        return scores, (frames - rounded).norm(dim=1) * self._largest + 1.01 * norms * self._largest_change + sums


class QuantizedFilter:
    """Scores by a product of eight-bit integers, at twice the speed of bfloat16, on processors of `processor.fast_int8`.

    Frames and centroids are rotated first, so that no channel is much larger than the others, which changes no score
    (QuaRot, arXiv 2404.00456). With q and p for what a frame x and a centroid c became, x·c - q·p = (x - q)·c + q·(c - p), where
    |q| is at most |x| + |x - q|.
    """

    def __init__(self, centroids: torch.Tensor, half_norms: torch.Tensor, columns: int) -> None:
        """Centroids [K, d], half their squared norms [K]; `columns` is K or more."""
        self._factors = [_hartley(size) for size in _near_square(centroids.shape[1])]
        rotated = _rotated(centroids.double(), self._factors).float()
        biases, weights = _widened(half_norms, rotated, columns)
        self._product = QuantizedLinear(weights, biases)
        self._largest, self._largest_half = float(centroids.norm(dim=1).max()), float(half_norms.max())
        self._largest_change = float((rotated - self._product.weight[: len(rotated)]).norm(dim=1).max())
        self._factors = [factor.float() for factor in self._factors]
        # n terms of an orthogonal matrix err by n^1.5 roundings at most; norms, scales and biases by fewer than d
        self._sums = SINGLE * (4 * centroids.shape[1] + 4 * sum(len(factor) ** 1.5 for factor in self._factors))

    def __call__(self, frames: torch.Tensor, norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Filter`."""
        rotated = _rotated(frames, self._factors)
        step = _DEVIATIONS / 127 * float(norms.median()) / math.sqrt(frames.shape[1])  # a frame far off changes no other
        scores, quantized = self._product(rotated, max(step, 1e-30))
        change = quantized.sub_(rotated).norm(dim=1)
        sums = self._sums * (norms * self._largest + self._largest_half)
        return scores, 1.01 * (change * self._largest + (norms + change) * self._largest_change) + sums


def _widened(half_norms: torch.Tensor, weights: torch.Tensor, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Biases and weights for as many columns; those that are no centroids score `_NOTHING`."""
    missing = columns - len(weights)
    return functional.pad(-half_norms, (0, missing), value=_NOTHING), functional.pad(weights, (0, 0, 0, missing))


def _parts(values: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Three numbers of a type whose sum is the float32 value."""
    parts = []
    for _ in range(3):
        parts.append(values.to(dtype))
        values = values - parts[-1]
    return parts


def _near_square(size: int) -> tuple[int, int]:
    """Two factors of a size, as near to each other as it has them."""
    smaller = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return smaller, size // smaller


def _hartley(size: int) -> torch.Tensor:
    """The orthogonal matrix of the discrete Hartley transform, whose entries are all small; symmetric, float64."""
    turns = torch.outer(torch.arange(size), torch.arange(size)).double() * (2 * math.pi / size)
    return (turns.cos() + turns.sin()) / math.sqrt(size)


def _rotated(rows: torch.Tensor, factors: list[torch.Tensor]) -> torch.Tensor:
    """Rows [N, d] times the Kronecker product of two symmetric factors."""
    first, second = factors
    return (first @ (rows.reshape(-1, len(second)) @ second).view(-1, len(first), len(second))).view(rows.shape)
