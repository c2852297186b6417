"""Waveforms to units: the same clip always gets the same units."""

import dataclasses

import numpy as np
import pytest

from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.labeler import Labeler


@pytest.fixture(scope="module")
def clips():
    draw = np.random.default_rng(3)
    return [(draw.standard_normal(n) / 8).astype(np.float32) for n in (16_000, 5_000, 24_000, 5_000, 400, 12_345)]


def same(one, other):
    return all(np.array_equal(a, b) for pair, twin in zip(one, other, strict=True) for a, b in zip(pair, twin, strict=True))


def test_units_are_the_nearest_centroids_of_the_frames_deduplicated(tiny_codebook, clips):
    labeler = Labeler(tiny_codebook)
    for clip, (units, durations) in zip(clips, labeler(clips), strict=True):
        frames = labeler.encoder.encode([clip])[0].numpy().astype(np.float64)
        distances = ((frames[:, None] - tiny_codebook.centroids) ** 2).sum(2)
        assert np.array_equal(codec.expand(units, durations), distances.argmin(1))
        assert (units[1:] != units[:-1]).all()


@pytest.mark.parametrize("batch_seconds", [0.1, 2.0, 1000.0])
def test_units_depend_neither_on_the_order_of_the_clips_nor_on_the_batch_size(tiny_codebook, clips, batch_seconds):
    expected = Labeler(tiny_codebook)(clips)
    order = [4, 2, 0, 5, 3, 1]
    labelled = Labeler(tiny_codebook, batch_seconds=batch_seconds)([clips[i] for i in order])
    assert same(labelled, [expected[i] for i in order])


def test_no_padded_batch_holds_more_than_the_budget_unless_one_clip_does(tiny_codebook, clips, monkeypatch):
    labeler = Labeler(tiny_codebook, batch_seconds=1.0)
    encode, seen = labeler.encoder.encode, []
    monkeypatch.setattr(labeler.encoder, "encode", lambda batch: seen.append([len(w) for w in batch]) or encode(batch))
    labeler(clips)
    assert sorted(length for batch in seen for length in batch) == sorted(len(clip) for clip in clips)
    assert all(len(batch) * max(batch) <= 16_000 or len(batch) == 1 for batch in seen)
    assert len(seen) < len(clips)


def test_nothing_gives_nothing(tiny_codebook):
    assert Labeler(tiny_codebook)([]) == []


def test_a_codebook_of_another_encoder_is_refused(tiny_codebook):
    other = dataclasses.replace(tiny_codebook.encoder, hop_ms=20)
    with pytest.raises(ValueError, match=r"frame_rate 25\.0 against 50\.0"):
        Labeler(Codebook(tiny_codebook.centroids, other, tiny_codebook.fingerprint))
