"""Pooling: neighbouring frames become one, and no frame is lost."""

import numpy as np
import pytest
import torch

from spire_ray.settings import Encoder
from spire_ray.units.encoder import load_encoder


@pytest.fixture
def clip():
    return (np.random.default_rng(0).standard_normal(16_000) / 8).astype(np.float32)


@pytest.mark.parametrize(("kind", "join"), [("mean", torch.mean), ("max", torch.amax)])
def test_neighbouring_frames_are_pooled_and_the_rest_is_kept(clip, kind, join):
    plain = load_encoder(Encoder(name="mfcc")).encode([clip])[0]
    pooled = load_encoder(Encoder(name="mfcc", pooling=kind, pooling_width=4)).encode([clip])[0]
    assert len(pooled) == -(-len(plain) // 4)
    for i, frame in enumerate(pooled):
        assert torch.equal(frame, join(plain[4 * i : 4 * i + 4], dim=0))


def test_pooling_belongs_to_the_identity(clip):
    plain, mean, wider = (load_encoder(Encoder(name="mfcc", pooling_width=width)).identity for width in (1, 2, 4))
    assert (plain.pooling, mean.pooling, wider.pooling) == ("none", "mean2", "mean4")
    assert mean.frame_rate == plain.frame_rate / 2


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match=r"encoder\.pooling_width=0: must be 1"):
        load_encoder(Encoder(name="mfcc", pooling_width=0))
