"""Lloyd's algorithm and its mini-batch form: what is done with the statistics of all frames. Legend: K clusters, d dimensions.

The statistics of frames are sums of whole numbers: every value is rounded to a multiple of 2^exponent, small enough to lose
nothing that bfloat16 holds of the larger values and large enough that float64 adds them without error. So they are the same
in whatever order, chunks and workers the frames are added, and so are the centroids.
"""

import math
from dataclasses import dataclass

import numpy as np

SEEDING_FRAMES = 5
"""Frames for each cluster among which the first centroids are drawn."""
_SPLIT = 1 / 1024
"""Part by which the halves of a split cluster are moved apart."""
_ROWS_AT_ONCE = 32
"""Centroids whose float64 copies stay in a core's cache. Their products are summed without BLAS, whose threads would spin."""
_TRUSTED = 20
"""Frames for each cluster that mini-batches must have seen before one that got none counts as empty."""


def exponent(largest: float, frames: int) -> int:
    """Of the grid on which float64 adds so many values of at most this size without error."""
    return math.frexp(largest * frames)[1] - 52


@dataclass(frozen=True)
class Statistics:
    """Of frames that were assigned to centroids."""

    sums: np.ndarray
    """float64 [K, d], whole numbers: multiples of 2^exponent."""
    counts: np.ndarray
    """int64 [K]."""
    squares: tuple[float, ...]
    """Sums of |x|², one for each shard of frames."""

    @staticmethod
    def empty(centroids: np.ndarray) -> "Statistics":
        """Of no frames."""
        return Statistics(np.zeros(centroids.shape), np.zeros(len(centroids), np.int64), ())

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.sums + other.sums, self.counts + other.counts, self.squares + other.squares)

    def inertia(self, centroids: np.ndarray, exponent: int) -> float:
        """Mean squared distance of the frames to their centroids: (Σ|x|² - 2 Σ c·Σx + Σ n|c|²) / N."""
        inner = norms = 0.0
        for rows in _blocks(len(centroids)):
            wide = centroids[rows].astype(np.float64)
            inner += float(np.einsum("kd,kd->", self.sums[rows], wide))
            norms += float(self.counts[rows] @ np.einsum("kd,kd->k", wide, wide))
        return (math.fsum(self.squares) - math.ldexp(2 * inner, exponent) + norms) / max(1, int(self.counts.sum()))


@dataclass(frozen=True)
class State:
    """Where a fit stands after an iteration."""

    centroids: np.ndarray
    """float32 [K, d]."""
    seen: np.ndarray
    """int64 [K]: frames that made each centroid: of the last iteration, or of all mini-batches."""
    inertia: tuple[float, ...] = ()
    """Mean squared distance of the frames to the centroids at the start of each iteration."""

    @staticmethod
    def begin(centroids: np.ndarray) -> "State":
        """Before the first iteration."""
        return State(np.ascontiguousarray(centroids, np.float32), np.zeros(len(centroids), np.int64))

    def step(self, found: Statistics, exponent: int, seed: int, *, mini_batch: bool = False) -> "State":
        """The state after one more iteration, over all frames or over a mini-batch."""
        inertia = found.inertia(self.centroids, exponent)
        seen, rate = found.counts, np.where(found.counts, 1.0, 0.0)
        if mini_batch:
            seen = self.seen + found.counts
            rate = found.counts / np.maximum(seen, 1)
        scale = np.ldexp(rate / np.maximum(found.counts, 1), exponent)
        centroids = np.empty_like(self.centroids)
        for rows in _blocks(len(centroids)):
            centroids[rows] = self.centroids[rows] * (1 - rate[rows, None]) + found.sums[rows] * scale[rows, None]
        if not mini_batch or seen.sum() >= _TRUSTED * len(seen):
            centroids, seen = _split_large(centroids, seen, np.random.default_rng([seed, len(self.inertia)]))
        return State(centroids, seen, (*self.inertia, inertia))


def _blocks(clusters: int) -> list[slice]:
    """Rows of centroids that are worked on together."""
    return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, clusters, _ROWS_AT_ONCE)]


def _split_large(centroids: np.ndarray, counts: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each empty cluster takes half of one that is drawn by its size."""
    empty = np.flatnonzero(counts == 0)
    if not len(empty) or counts.max() < 2:
        return centroids, counts
    centroids, counts = centroids.copy(), counts.copy()
    for cluster in empty:
        weights = np.maximum(counts - 1, 0)
        large = int(draw.choice(len(counts), p=weights / weights.sum()))
        apart = np.where(np.arange(centroids.shape[1]) % 2, 1 + _SPLIT, 1 - _SPLIT).astype(np.float32)
        centroids[cluster], centroids[large] = centroids[large] * apart, centroids[large] * (2 - apart)
        counts[cluster] = counts[large] // 2
        counts[large] -= counts[cluster]
    return centroids, counts
