"""What a filter says of its own error is true, and a filter that leaves too much is replaced."""

import numpy as np
import pytest
import torch

from spire_ray.core import processor
from spire_ray.units.kernels.filters import QuantizedFilter, RoundedFilter
from spire_ray.units.kmeans.assigner import Assigner

FILTERS = [torch.bfloat16, torch.float32, *([torch.int8] if processor.fast_int8() else [])]


def made(dtype, centroids):
    half_norms = centroids.square().sum(1) / 2
    if dtype == torch.int8:
        return QuantizedFilter(centroids, half_norms, len(centroids) + 3)
    return RoundedFilter(centroids, half_norms, len(centroids) + 3, dtype)


def gaussians(rows, dimensions, seed, loud=1.0):
    drawn = torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))
    drawn[:, ::50] *= loud
    return drawn


@pytest.mark.parametrize("dtype", FILTERS)
@pytest.mark.parametrize("dimensions", [1, 2, 3, 13, 96, 1024])  # 13 has no two factors
@pytest.mark.parametrize("loud", [1.0, 60.0])
def test_no_score_is_farther_off_than_its_filter_says(dtype, dimensions, loud):
    frames, centroids = (gaussians(rows, dimensions, seed, loud) for rows, seed in ((500, 0), (797, 1)))
    scores, error = made(dtype, centroids)(frames, frames.norm(dim=1))
    exact = frames.double() @ centroids.double().T - centroids.double().square().sum(1) / 2
    found = scores[:, :797].double()
    off, rounding = found - exact, torch.finfo(scores.dtype).eps / 2 * found.abs()
    if dtype == torch.int8:
        assert bool((off.abs() <= error[:, None] + rounding).all())
    else:  # and a number of the frame, which is not known: any two scores
        assert bool(((off - rounding).amax(1) - (off + rounding).amin(1) <= 2 * error).all())
    assert bool((scores[:, 797:] < -1e38).all())  # no centroids


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_nearest_centroid_outlives_the_largest_error_that_a_filter_may_have(dtype):
    frames, centroids = gaussians(20_000, 4, 0), gaussians(40, 4, 1)
    assigner = Assigner(centroids.numpy(), dtype=torch.float32)
    nearest = torch.cdist(frames.double(), centroids.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)

    def hostile(centred, norms):
        scores = centred @ assigner._centred.T - assigner._half_norms
        of_the_nearest = torch.nn.functional.one_hot(nearest[hostile.seen : hostile.seen + len(centred)], 40)
        hostile.seen += len(centred)
        return (scores + 0.499 - 0.998 * of_the_nearest).to(dtype), torch.full_like(norms, 0.5)

    hostile.seen, assigner._filter = 0, hostile
    assert np.array_equal(assigner(frames), nearest.numpy())


@pytest.mark.skipif(not processor.fast_int8(), reason="the processor has no products of eight-bit integers")
def test_eight_bits_leave_few_centroids_although_some_channels_are_loud():
    frames, centroids = (gaussians(rows, 1024, seed, loud=12.0) for rows, seed in ((500, 0), (5_000, 1)))
    frames = centroids[:500] + 0.5 * frames
    assigner = Assigner(centroids.numpy(), dtype=torch.int8)
    centred = frames - centroids.mean(0)
    rows, _ = assigner._candidates(centred, centred.norm(dim=1))
    assert len(rows) < 10 * 500


@pytest.mark.skipif(not processor.fast_int8(), reason="the processor has no products of eight-bit integers")
def test_where_eight_bits_tell_nothing_apart_a_finer_filter_goes_on():
    far = 1000 * gaussians(1, 64, 0)
    frames, centroids = far + gaussians(300, 64, 1), torch.cat([gaussians(400, 64, 2) + far, gaussians(400, 64, 3) - far])
    assigner = Assigner(centroids.numpy(), dtype=torch.int8)
    labels = assigner(frames)
    assert isinstance(assigner._filter, RoundedFilter)
    exact = torch.cdist(frames.double(), centroids.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert np.array_equal(labels, exact.argmin(1).numpy())


def test_a_library_that_is_kept_from_instructions_does_not_multiply_eight_bits(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")  # without which its sums overflow
    assert not processor.fast_int8()


@pytest.mark.skipif(not processor.fast_int8(), reason="the processor has no products of eight-bit integers")
def test_one_frame_far_off_leaves_the_others_their_filter():
    frames, centroids = gaussians(2_048, 1024, 0), gaussians(1_600, 1024, 1)
    frames = centroids[torch.arange(2_048) % 1_600] + 0.5 * frames
    frames[77] *= 1e4
    assigner = Assigner(centroids.numpy())
    labels = assigner(frames)
    assert isinstance(assigner._filter, QuantizedFilter)
    assert np.array_equal(np.delete(labels, 77), np.delete(np.arange(2_048) % 1_600, 77))
