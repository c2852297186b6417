"""The nearest centroid is the nearest: labels equal the argmin in float64, whatever filtered, in any batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.core import processor
from spire_ray.units.kmeans.assigner import Assigner, assign, inertia

FILTERS = [torch.bfloat16, torch.float32, *([torch.int8] if processor.fast_int8() else [])]


def gaussians(frames, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((frames, dimensions)).astype(np.float32)


def speech_like(frames, dimensions, seed=0):
    """Clusters with a falling spectrum, and four channels of large mean and variance, as speech encoders have them."""
    centres = gaussians(200, dimensions, seed=99) * np.arange(1, dimensions + 1) ** -0.5
    draw = np.random.default_rng(seed)
    made = centres[draw.integers(0, 200, frames)] + 0.2 * gaussians(frames, dimensions, seed)
    made[:, :4] = made[:, :4] * 40 + 300
    return made.astype(np.float32)


def distances(frames, centroids):
    wide, narrow = frames.astype(np.float64), centroids.astype(np.float64)
    return (wide**2).sum(1)[:, None] - 2 * wide @ narrow.T + (narrow**2).sum(1)


@pytest.mark.parametrize("dtype", FILTERS)
@pytest.mark.parametrize("make", [gaussians, speech_like])
def test_labels_equal_the_argmin_of_distances_in_float64(make, dtype):
    frames, centroids = make(5_000, 130), make(403, 130, seed=1)
    labels = Assigner(centroids, dtype=dtype)(torch.from_numpy(frames))
    exact = distances(frames, centroids)
    best, second = np.sort(exact, axis=1)[:, :2].T
    untied = second - best > 1e-5 * best
    assert untied.mean() > 0.99
    assert np.array_equal(labels[untied], exact.argmin(1)[untied])
    assert labels.dtype == np.int32


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(0, 100),
    st.sampled_from(FILTERS),
    st.integers(-18, 18),
)
def test_no_label_is_farther_than_the_nearest_centroid(frames, clusters, dimensions, seed, dtype, exponent):
    draw = np.random.default_rng(seed)
    values = draw.integers(-4, 5, (frames + clusters, dimensions)).astype(np.float32) * np.float32(2.0**exponent)  # many ties
    x, c = values[:frames], values[frames:]
    labels = Assigner(c, dtype=dtype)(torch.from_numpy(x))
    exact = ((x[:, None].astype(np.float64) - c) ** 2).sum(2)
    assert np.array_equal(labels, exact.argmin(1))  # of equal ones the first


def test_a_label_does_not_depend_on_the_batch():
    frames, centroids = torch.from_numpy(speech_like(3_000, 64)), speech_like(300, 64, seed=1)
    assigner = Assigner(centroids, dtype=torch.bfloat16)
    alone = np.concatenate([assigner(part) for part in frames.split(37)])
    assert np.array_equal(assigner(frames), alone)
    order = torch.randperm(3_000, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(assigner(frames[order]), alone[order])


def test_of_equal_centroids_the_first_is_taken():
    centroids = np.repeat(gaussians(5, 16), 60, axis=0)
    frames = torch.from_numpy(centroids[::7] + 1e-3)
    for dtype in FILTERS:
        assert set(Assigner(centroids, dtype=dtype)(frames).tolist()) <= {0, 60, 120, 180, 240}


def test_frames_that_are_not_finite_are_refused():
    frames = gaussians(10, 8)
    frames[3, 2] = np.nan
    with pytest.raises(ValueError, match="frames: some are not finite"):
        assign(frames, gaussians(4, 8, seed=1))


@pytest.mark.parametrize(
    ("frames", "centroids", "why"),
    [
        (gaussians(10, 9), gaussians(4, 8), r"frames \[10, 9\]: must be \[N, 8\]"),
        (gaussians(1, 8)[0], gaussians(4, 8), r"frames \[8\]: must be \[N, 8\]"),
        (gaussians(10, 8), gaussians(0, 8), r"centroids \[0, 8\]: must be \[K, d\], at least one"),
        (gaussians(10, 8), gaussians(4, 8) * np.inf, "and finite"),
    ],
)
def test_what_are_no_frames_or_no_centroids_is_refused_by_its_shape(frames, centroids, why):
    with pytest.raises(ValueError, match=why):
        assign(frames, centroids)


def test_no_frames_have_no_labels():
    assert assign(np.zeros((0, 8), np.float32), gaussians(4, 8)).shape == (0,)


def test_inertia_is_the_mean_squared_distance_to_the_nearest_centroid():
    frames, centroids = gaussians(500, 8), gaussians(20, 8, seed=1)
    assert inertia(frames, centroids) == pytest.approx(distances(frames, centroids).min(1).mean(), rel=1e-5)
