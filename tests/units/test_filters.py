"""What a filter says of its own error is true, and a filter that leaves too much is replaced."""

import numpy as np
import pytest
import torch

from spire_ray import processor
from spire_ray.units import kmeans
from spire_ray.units.filters import QuantizedFilter, RoundedFilter

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
@pytest.mark.parametrize("dimensions", [1, 13, 96, 1024])  # 13 has no two factors
@pytest.mark.parametrize("loud", [1.0, 60.0])
def test_two_scores_differ_from_exact_ones_by_no_more_than_the_error_of_each(dtype, dimensions, loud):
    frames, centroids = (gaussians(rows, dimensions, seed, loud) for rows, seed in ((64, 0), (200, 1)))
    scores, error = made(dtype, centroids)(frames, frames.norm(dim=1))
    exact = frames.double() @ centroids.double().T - centroids.double().square().sum(1) / 2
    off = scores[:, :200].double() - exact  # and a number of the frame
    rounding = torch.finfo(scores.dtype).eps / 2 * scores[:, :200].double().abs().amax(1)
    assert bool((off.amax(1) - off.amin(1) <= 2 * (error + rounding)).all())
    assert bool((scores[:, 200:] < -1e38).all())  # no centroids


@pytest.mark.skipif(not processor.fast_int8(), reason="the processor has no products of eight-bit integers")
def test_eight_bits_leave_few_centroids_although_some_channels_are_loud():
    frames, centroids = (gaussians(rows, 1024, seed, loud=12.0) for rows, seed in ((500, 0), (5_000, 1)))
    frames = centroids[:500] + 0.5 * frames
    assigner = kmeans.Assigner(centroids.numpy(), dtype=torch.int8)
    centred = frames - centroids.mean(0)
    rows, _ = assigner._candidates(centred, centred.norm(dim=1))
    assert len(rows) < 10 * 500


@pytest.mark.skipif(not processor.fast_int8(), reason="the processor has no products of eight-bit integers")
def test_where_eight_bits_tell_nothing_apart_a_finer_filter_goes_on():
    far = 1000 * gaussians(1, 64, 0)
    frames, centroids = far + gaussians(300, 64, 1), torch.cat([gaussians(400, 64, 2) + far, gaussians(400, 64, 3) - far])
    assigner = kmeans.Assigner(centroids.numpy(), dtype=torch.int8)
    labels = assigner(frames)
    assert isinstance(assigner._filter, RoundedFilter)
    exact = torch.cdist(frames.double(), centroids.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert np.array_equal(labels, exact.argmin(1).numpy())
