"""k-means: fit the centroids, assign frames to them. Legend: N frames, K clusters, d dimensions."""

from dataclasses import dataclass

import numpy as np
import torch

_FRAMES_AT_ONCE = 8192


@dataclass(frozen=True)
class Fit:
    """Outcome of a fit."""

    centroids: np.ndarray
    """float32 [K, d]."""
    inertia: list[float]
    """Mean squared distance of a frame to its centroid, after each iteration."""


def fit(frames: np.ndarray, clusters: int, *, iterations: int, seed: int, verbose: bool = False) -> Fit:
    """Lloyd's algorithm over all frames (float32 [N, d]) by faiss, which splits clusters that run empty.

    Raises ValueError when there are fewer frames than clusters.
    """
    import faiss

    if len(frames) < clusters:
        raise ValueError(f"clusters={clusters}: only {len(frames)} frames were sampled; raise hours or lower clusters")
    # faiss would otherwise fit on 256 frames for each centroid only
    kmeans = faiss.Kmeans(
        frames.shape[1], clusters, niter=iterations, seed=seed, verbose=verbose, max_points_per_centroid=len(frames)
    )
    kmeans.train(np.ascontiguousarray(frames, np.float32))
    centroids: np.ndarray = kmeans.centroids  # type: ignore[assignment]
    return Fit(centroids.reshape(clusters, -1), [float(objective) / len(frames) for objective in np.asarray(kmeans.obj)])


class Assigner:
    """Nearest centroid of each frame: argmin |x - c|², as argmax x·c - |c|²/2, in float32."""

    def __init__(self, centroids: np.ndarray, device: str = "cpu") -> None:
        self._centroids = torch.from_numpy(np.ascontiguousarray(centroids, np.float32)).to(device)
        self._half_norms = self._centroids.square().sum(1) / 2

    @torch.inference_mode()
    def __call__(self, frames: torch.Tensor) -> np.ndarray:
        """Frames [N, d] → labels int64 [N]."""
        parts = [
            torch.addmm(-self._half_norms, part, self._centroids.T).argmax(1)
            for part in torch.split(frames.to(self._centroids), _FRAMES_AT_ONCE)
        ]
        return torch.cat(parts).cpu().numpy()


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    """Mean squared distance of the frames [N, d] to their nearest centroids."""
    labels = Assigner(centroids)(torch.from_numpy(np.ascontiguousarray(frames, np.float32)))
    return float(np.square(frames - centroids[labels]).sum(1).mean())
