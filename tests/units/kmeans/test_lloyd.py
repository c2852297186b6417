"""A fit makes the centroids better, and its bits do not depend on who adds what."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.units.kmeans import assigner, lloyd, passes


def gaussians(frames, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((frames, dimensions)).astype(np.float32)


def state_of(frames, clusters, steps, parts=1, seed=0, engine="torch", **how):
    """Fit with the frames cut in parts, whose statistics are added from the last to the first."""
    given_ = torch.from_numpy(frames)
    grid = lloyd.exponent(float(np.abs(frames).max()), len(frames))
    state = lloyd.State.begin(passes.first_centroids(given_[: 5 * clusters], clusters, seed))
    for _ in range(steps):
        assigner = passes.ENGINES[engine](state.centroids)
        found = [passes.statistics(part, assigner, clusters, grid) for part in given_.tensor_split(parts)]
        total = lloyd.Statistics.empty(state.centroids)
        for one in reversed(found):
            total += one
        state = state.step(total, grid, seed, **how)
    return state


def test_every_iteration_lowers_the_inertia():
    frames = gaussians(3_000, 8)
    fitted = passes.fit(frames, 30, iterations=8, seed=0)
    assert fitted.centroids.shape == (30, 8)
    assert fitted.centroids.dtype == np.float32
    assert len(fitted.inertia) == 8
    assert all(later <= earlier for earlier, later in zip(fitted.inertia, fitted.inertia[1:], strict=False))
    assert assigner.inertia(frames, fitted.centroids) <= fitted.inertia[-1] * (1 + 1e-6) < fitted.inertia[0]


def test_the_inertia_of_the_statistics_is_that_of_the_distances():
    frames = gaussians(2_000, 16) + 50
    state = state_of(frames, 20, 3)
    again = dataclasses.replace(state_of(frames, 20, 2))
    assert state.inertia[-1] == pytest.approx(assigner.inertia(frames, again.centroids), rel=1e-6)


def test_clear_clusters_are_found():
    centres = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    frames = np.concatenate([centre + gaussians(200, 2, seed=i) / 10 for i, centre in enumerate(centres)])
    found = passes.fit(frames, 3, iterations=10, seed=0).centroids
    assert np.allclose(sorted(found.round().tolist()), sorted(centres.tolist()))


def test_all_frames_count_however_many_there_are_for_each_centroid():
    frames = gaussians(5_000, 4)
    assert np.allclose(passes.fit(frames, 1, iterations=2, seed=0).centroids[0], frames.mean(0), atol=1e-5)


def test_the_same_seed_gives_the_same_centroids():
    frames = gaussians(1_000, 4)
    one, again, other = (passes.fit(frames, 10, iterations=3, seed=seed).centroids for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_fewer_frames_than_clusters_are_refused():
    with pytest.raises(ValueError, match="clusters=11: only 10 frames were sampled; raise hours or lower clusters"):
        passes.fit(gaussians(10, 4), 11, iterations=1, seed=0)


@given(st.integers(1, 9), st.integers(-20, 20), st.integers(0, 50))
def test_sums_have_the_same_bits_however_the_frames_are_cut(parts, size, seed):
    frames = gaussians(300, 5, seed) * np.float32(2.0**size) * np.float32(10) ** np.arange(5, dtype=np.float32)
    whole, cut = (state_of(frames, 12, 3, parts=n) for n in (1, parts))
    assert np.array_equal(whole.centroids, cut.centroids)
    assert np.array_equal(whole.seen, cut.seen)
    assert whole.inertia == pytest.approx(cut.inertia, rel=1e-12)


def test_the_grid_loses_nothing_that_counts():
    frames = gaussians(4_000, 6)
    frames[:, 0] *= 100
    fitted = state_of(frames, 1, 1).centroids[0]
    assert np.allclose(fitted, frames.astype(np.float64).mean(0), rtol=1e-6, atol=1e-7)


def test_an_empty_cluster_takes_half_of_a_large_one():
    frames = np.concatenate([gaussians(900, 3), gaussians(3, 3, seed=1) + 100])
    state = lloyd.State.begin(np.array([[0, 0, 0], [100, 100, 100], [999, 999, 999]], np.float32))
    grid = lloyd.exponent(110.0, len(frames))
    for _ in range(2):
        found = passes.statistics(torch.from_numpy(frames), assigner.Assigner(state.centroids), 3, grid)
        state = state.step(found, grid, 0)
    assert (found.counts > 0).all()
    assert found.counts[[0, 2]].sum() == 900


def test_mini_batches_come_close_to_lloyd():
    frames = gaussians(20_000, 6)
    exact = passes.fit(frames, 40, iterations=15, seed=0)
    grid = lloyd.exponent(float(np.abs(frames).max()), len(frames))
    state = lloyd.State.begin(passes.first_centroids(torch.from_numpy(frames[:200]), 40, 0))
    draw = np.random.default_rng(0)
    for _ in range(30):
        batch = torch.from_numpy(frames[draw.choice(len(frames), 2_000, replace=False)])
        found = passes.statistics(batch, assigner.Assigner(state.centroids), 40, grid)
        state = state.step(found, grid, 0, mini_batch=True)
    assert state.seen.sum() == 60_000
    assert assigner.inertia(frames, state.centroids) < 1.03 * assigner.inertia(frames, exact.centroids)


def test_faiss_on_a_gpu_is_refused():
    """It would take every card of the node for each worker, and the frames by way of the CPU."""
    with pytest.raises(ValueError, match=r"engine=faiss: works on CPUs, not on cuda; on GPUs use engine=torch"):
        passes.FaissAssigner(np.zeros((2, 4), np.float32), "cuda")


def test_faiss_gives_the_same_centroids():
    frames = gaussians(2_000, 8)
    ours, theirs = (state_of(frames, 20, 4, engine=engine).centroids for engine in ("torch", "faiss"))
    assert np.allclose(ours, theirs, atol=1e-5)


def test_equal_frames_can_be_drawn_where_nothing_else_is_left():
    frames = torch.from_numpy(np.repeat(gaussians(3, 4), 10, axis=0))
    found = passes.first_centroids(frames, 8, seed=0)
    assert len(np.unique(found, axis=0)) == 3
