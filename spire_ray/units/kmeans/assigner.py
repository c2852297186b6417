"""The nearest centroid of each frame, exactly. Legend: N frames, K clusters, d dimensions.

A cheap product filters: a centroid is out once its score, with the largest error that the product can have made, lies below
the best one. What is left, mostly one to ten centroids for a frame, is scored again in float32, and what float32 cannot tell
apart in float64. So labels depend neither on the batch nor on the threads nor on the precision of the filter.
"""

import math
import warnings
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from spire_ray.core import processor
from spire_ray.units.kernels.filters import SINGLE, Filter, QuantizedFilter, RoundedFilter

_FRAMES_AT_ONCE, _FRAMES_AT_ONCE_ON_A_GPU = 2048, 1 << 15
"""What the caches of a core hold, and what keeps a GPU busy between two kernels."""
_GROUP = 8
"""Centroids that are compared with the threshold by their best one first."""
_PAIRS_AT_ONCE = 4096
_MANY, _JUDGED = 32, 256
"""Groups a frame that a filter leaves and a finer one is cheaper; frames of a block that speak for those to come."""
_WORTH_ROUNDING, _WORTH_QUANTIZING = 1 << 19, 3 << 19
"""K · d from which a product in bfloat16, or of eight-bit integers, saves more time than it costs to make them."""
_NOT_FINITE = "frames: some are not finite; look for broken audio or weights"

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")


class Assigner:
    """Nearest centroid of each frame: argmin |x - c|², of equal ones the first."""

    def __init__(self, centroids: np.ndarray, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
        """Centroids [K, d]; `dtype` of the filter, int8, bfloat16 or float32, is by default the fastest one on this machine.

        Raises ValueError for centroids that are none.
        """
        if centroids.ndim != 2 or not len(centroids) or not np.isfinite(centroids).all():
            raise ValueError(f"centroids {list(centroids.shape)}: must be [K, d], at least one, and finite")
        if device != "cpu":  # the bound holds for partial sums in float32
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._centroids = torch.from_numpy(np.ascontiguousarray(centroids, np.float32)).to(device)
        self._mean = self._centroids.mean(0)
        self._centred = self._centroids - self._mean
        self._half_norms = self._centred.double().square().sum(1).float() / 2
        self._largest = float(self._centred.norm(dim=1).max())
        self._at_once = _FRAMES_AT_ONCE if device == "cpu" else _FRAMES_AT_ONCE_ON_A_GPU
        self._filter = self._filter_in(dtype or assigning_dtype(self._centroids))

    def __call__(self, frames: torch.Tensor) -> np.ndarray:
        """Frames [N, d] → labels int32 [N]. Raises ValueError for frames of another width and for one that is not finite."""
        return self.labels(frames).cpu().numpy()

    @torch.inference_mode()
    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """As the call, on the device of the centroids."""
        if frames.ndim != 2 or frames.shape[1] != len(self._mean):
            raise ValueError(f"frames {list(frames.shape)}: must be [N, {len(self._mean)}], as wide as the centroids")
        if not len(frames):
            return torch.zeros(0, dtype=torch.int32, device=self._centroids.device)
        return torch.cat([self._block(part.to(self._centroids)) for part in torch.split(frames, self._at_once)])

    def _block(self, frames: torch.Tensor) -> torch.Tensor:
        centred = frames - self._mean
        norms = centred.norm(dim=1)
        if not norms.square().isfinite().all():
            raise ValueError(_NOT_FINITE)
        rows, columns = self._candidates(centred, norms)
        scores = self._dots(centred, rows, columns) - self._half_norms[columns]
        best = _best(scores, rows, len(frames), "amax")
        # two float32 scores, each with the error of d additions in any order
        error = 2 * (centred.shape[1] + 4) * SINGLE * (norms * self._largest + float(self._half_norms.max()))
        close = scores >= (best - error)[rows]
        rows, columns = rows[close], columns[close]
        labels = _best(columns, rows, len(frames), "amin")
        if int(labels.max()) >= len(self._centroids):  # a number in between was too large
            raise ValueError(_NOT_FINITE)
        tied = (torch.bincount(rows, minlength=len(frames)) > 1)[rows]
        if tied.any():
            self._settle(frames, rows[tied], columns[tied], labels)
        return labels.int()

    def _filter_in(self, dtype: torch.dtype) -> Filter:
        columns = len(self._centred) + -len(self._centred) % _GROUP
        if dtype == torch.int8:
            return QuantizedFilter(self._centred, self._half_norms, columns)
        return RoundedFilter(self._centred, self._half_norms, columns, dtype)

    @cached_property
    def _finer(self) -> Filter:
        return self._filter_in(rounding_dtype(self._centroids))

    def _candidates(self, centred: torch.Tensor, norms: torch.Tensor, finer: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """(frame, centroid) pairs, ordered, among which is the nearest centroid of each frame."""
        scores, error = (self._finer if finer else self._filter)(centred, norms)
        # the largest of every 8, taken from as many parts of the row: a maximum over neighbours is several times slower
        grouped = scores.view(len(scores), _GROUP, -1)
        groups = grouped.amax(1)
        best = groups.amax(1).float()
        rounding = torch.finfo(scores.dtype).eps / 2
        threshold = (best - rounding * best.abs() - 2 * error).to(scores.dtype)[:, None]
        rows, group = (groups >= threshold).nonzero(as_tuple=True)
        if len(rows) > _MANY * len(centred) and not finer and isinstance(self._filter, QuantizedFilter):
            if len(centred) >= _JUDGED:
                self._filter = self._finer
            return self._candidates(centred, norms, finer=True)
        pair, member = (grouped.transpose(1, 2)[rows, group] >= threshold[rows]).nonzero(as_tuple=True)
        return rows[pair], member * groups.shape[1] + group[pair]

    def _dots(self, centred: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """x·c of the pairs in float32."""
        starts = functional.pad(torch.bincount(rows, minlength=len(centred)).cumsum(0), (1, 0))
        size = (len(centred), len(self._centred))
        wanted = torch.sparse_csr_tensor(starts, columns, centred.new_zeros(len(columns)), size, check_invariants=False)
        dots: torch.Tensor = torch.sparse.sampled_addmm(wanted, centred, self._centred.T, beta=0.0).values()
        return dots

    def _settle(self, frames: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, labels: torch.Tensor) -> None:
        """Put the nearest of several close centroids into `labels`, by float64."""
        parts = zip(torch.split(rows, _PAIRS_AT_ONCE), torch.split(columns, _PAIRS_AT_ONCE), strict=True)
        distances = torch.cat([(frames[row].double() - self._centroids[c].double()).square().sum(1) for row, c in parts])
        nearest = distances <= _best(distances, rows, len(frames), "amin")[rows]
        chosen = _best(columns[nearest], rows[nearest], len(frames), "amin")
        labels[rows] = chosen[rows]


def assign(frames: np.ndarray | torch.Tensor, centroids: np.ndarray) -> np.ndarray:
    """Nearest centroid of each frame: [N, d] and [K, d] → int32 [N]. On the device of the frames."""
    given = torch.as_tensor(frames)
    return Assigner(centroids, str(given.device))(given)


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    """Mean squared distance of the frames [N, d] to their nearest centroids."""
    labels = assign(frames, centroids)
    return float(np.square(frames - centroids[labels]).sum(1).mean())


def rounding_dtype(factor: torch.Tensor) -> torch.dtype:
    """Of a product that need not be exact: bfloat16 where the device multiplies it faster and the factor is large enough."""
    return torch.bfloat16 if processor.fast_bfloat16(factor.device.type) and factor.numel() >= _WORTH_ROUNDING else torch.float32


def assigning_dtype(centroids: torch.Tensor) -> torch.dtype:
    """Of the filter that is fastest for most centroids [K, d]."""
    quantizes = processor.fast_int8(centroids.device.type) and centroids.numel() >= _WORTH_QUANTIZING
    return torch.int8 if quantizes else rounding_dtype(centroids)


def _best(values: torch.Tensor, rows: torch.Tensor, count: int, kind: str) -> torch.Tensor:
    """Smallest or largest of the values of each row; beyond every value where a row has none."""
    beyond = math.inf if values.is_floating_point() else torch.iinfo(values.dtype).max
    return values.new_full((count,), -beyond if kind == "amax" else beyond).scatter_reduce(0, rows, values, kind)
