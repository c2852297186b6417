"""Mel-frequency cepstra as frames."""

import numpy as np
import pytest
import torch

from spire_ray.settings import EncoderSettings
from spire_ray.units.encoders.loading import load_encoder


def noise(samples, seed=0):
    return (np.random.default_rng(seed).standard_normal(samples) / 8).astype(np.float32)


@pytest.mark.parametrize(("hop_ms", "rate"), [(10, 100), (20, 50), (30, 100 / 3), (40, 25)])
def test_one_frame_comes_every_hop(hop_ms, rate):
    encoder = load_encoder(EncoderSettings(name="mfcc", options={"hop_ms": hop_ms}))
    assert encoder.identity.frame_rate == pytest.approx(rate)
    for samples in range(16_000, 16_000 + 4 * 160, 160):
        cepstra = (samples - 400) // 160 + 1
        assert abs(len(encoder.encode([noise(samples)])[0]) - cepstra * 10 / hop_ms) <= 0.5


@pytest.mark.parametrize("context", [1, 3, 9])
def test_a_frame_holds_13_cepstra_of_each_neighbour(context):
    frames = load_encoder(EncoderSettings(name="mfcc", options={"context": context})).encode([noise(8_000)])[0]
    assert frames.shape[1] == 13 * context
    assert frames.dtype == torch.float32


def test_the_middle_of_a_stacked_frame_is_the_frame_itself():
    alone = load_encoder(EncoderSettings(name="mfcc", options={"context": 1})).encode([noise(8_000)])[0]
    stacked = load_encoder(EncoderSettings(name="mfcc", options={"context": 5})).encode([noise(8_000)])[0]
    assert torch.equal(stacked[:, 26:39], alone)


@pytest.mark.parametrize("hop_ms", [10, 20, 40])
def test_the_shortest_clip_has_one_frame(hop_ms):
    encoder = load_encoder(EncoderSettings(name="mfcc", options={"hop_ms": hop_ms}))
    (frames,) = encoder.encode([noise(encoder.shortest)])
    assert len(frames) == 1
    assert torch.isfinite(frames).all()


def test_silence_has_finite_frames():
    assert torch.isfinite(load_encoder(EncoderSettings(name="mfcc")).encode([np.zeros(8_000, np.float32)])[0]).all()


def test_loudness_does_not_change_the_frames():
    encoder = load_encoder(EncoderSettings(name="mfcc"))
    quiet, loud = encoder.encode([noise(8_000), 4 * noise(8_000)])
    assert torch.allclose(quiet, loud, atol=1e-4)


def test_other_clips_in_the_batch_change_nothing():
    encoder = load_encoder(EncoderSettings(name="mfcc"))
    clips = [noise(samples, samples) for samples in (8_000, 400, 12_345)]
    for clip, frames in zip(clips, encoder.encode(clips), strict=True):
        assert torch.equal(frames, encoder.encode([clip])[0])


@pytest.mark.parametrize("hop_ms", [0, -10, 15])
def test_a_hop_that_is_no_multiple_of_10_ms_is_refused(hop_ms):
    with pytest.raises(ValueError, match=rf"encoder\.options\.hop_ms={hop_ms}: must be a positive multiple of 10"):
        load_encoder(EncoderSettings(name="mfcc", options={"hop_ms": hop_ms}))


@pytest.mark.parametrize("context", [0, -1, 4])
def test_a_context_without_a_middle_is_refused(context):
    with pytest.raises(ValueError, match=rf"encoder\.options\.context={context}: must be odd"):
        load_encoder(EncoderSettings(name="mfcc", options={"context": context}))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"hop": 20}, "encoder.options.hop=20: mfcc has no such option; it has hop_ms, context"),
        ({"hop_ms": "20"}, "encoder.options.hop_ms=20: must be of the type of 20"),
    ],
)
def test_an_option_that_it_does_not_have_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        load_encoder(EncoderSettings(name="mfcc", options=options))


def test_an_unknown_kind_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="encoder='mfc': did you mean mfcc"):
        load_encoder(EncoderSettings(name="mfc"))


def test_hop_and_context_are_part_of_the_identity():
    identities = [
        load_encoder(EncoderSettings(name="mfcc", options={"hop_ms": h, "context": c})).identity
        for h, c in ((20, 5), (40, 5), (20, 7))
    ]
    assert len(set(identities)) == 3
