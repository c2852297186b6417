"""Pooling: neighbouring frames become one, as in the reference."""

import numpy as np
import pytest
import torch

from spire_ray.settings import EncoderSettings
from spire_ray.units.encoders.loading import load_encoder


@pytest.fixture
def clip():
    return (np.random.default_rng(0).standard_normal(16_000) / 8).astype(np.float32)


@pytest.mark.parametrize(("kind", "join"), [("mean", torch.mean), ("max", torch.amax)])
def test_neighbouring_frames_are_pooled_and_the_rest_is_dropped(clip, kind, join):
    plain = load_encoder(EncoderSettings(name="mfcc")).encode([clip])[0]
    pooled = load_encoder(EncoderSettings(name="mfcc", pooling=kind, pooling_width=4)).encode([clip])[0]
    assert len(plain) % 4 and len(pooled) == len(plain) // 4
    for i, frame in enumerate(pooled):
        torch.testing.assert_close(frame, join(plain[4 * i : 4 * i + 4], dim=0))


def test_pooling_belongs_to_the_identity(clip):
    plain, mean, wider = (load_encoder(EncoderSettings(name="mfcc", pooling_width=width)).identity for width in (1, 2, 4))
    assert (plain.pooling, mean.pooling, wider.pooling) == ("none", "mean2", "mean4")
    assert mean.frame_rate == plain.frame_rate / 2


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match=r"encoder\.pooling_width=0: must be 1"):
        load_encoder(EncoderSettings(name="mfcc", pooling_width=0))


@pytest.mark.parametrize("width", [2, 3, 4])
def test_the_shortest_clip_has_a_pooled_frame(width):
    encoder = load_encoder(EncoderSettings(name="mfcc", pooling_width=width))
    clip = np.random.default_rng(0).standard_normal(encoder.shortest).astype(np.float32)
    assert len(encoder.encode([clip])[0]) == 1
