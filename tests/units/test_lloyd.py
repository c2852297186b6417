"""A fit makes the centroids better."""

import numpy as np
import pytest

from spire_ray.units import kmeans, lloyd


def gaussians(frames, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((frames, dimensions)).astype(np.float32)


def test_every_iteration_lowers_the_inertia():
    frames = gaussians(3_000, 8)
    fitted = lloyd.fit(frames, 30, iterations=8, seed=0)
    assert fitted.centroids.shape == (30, 8)
    assert fitted.centroids.dtype == np.float32
    assert len(fitted.inertia) == 8
    assert all(later <= earlier for earlier, later in zip(fitted.inertia, fitted.inertia[1:], strict=False))
    assert kmeans.inertia(frames, fitted.centroids) <= fitted.inertia[-1] * (1 + 1e-5) < fitted.inertia[0]


def test_clear_clusters_are_found():
    centres = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    frames = np.concatenate([centre + gaussians(200, 2, seed=i) / 10 for i, centre in enumerate(centres)])
    found = lloyd.fit(frames, 3, iterations=10, seed=0).centroids
    assert np.allclose(sorted(found.round().tolist()), sorted(centres.tolist()))


def test_all_frames_count_however_many_there_are_for_each_centroid():
    frames = gaussians(5_000, 4)
    assert np.allclose(lloyd.fit(frames, 1, iterations=2, seed=0).centroids[0], frames.mean(0), atol=1e-5)


def test_the_same_seed_gives_the_same_centroids():
    frames = gaussians(1_000, 4)
    one, again, other = (lloyd.fit(frames, 10, iterations=3, seed=seed).centroids for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_fewer_frames_than_clusters_are_refused():
    with pytest.raises(ValueError, match="clusters=11: only 10 frames were sampled; raise hours or lower clusters"):
        lloyd.fit(gaussians(10, 4), 11, iterations=1, seed=0)
