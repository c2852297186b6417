"""k-means by faiss on frames in memory. Legend: N frames, K clusters, d dimensions."""

from dataclasses import dataclass

import numpy as np


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
