"""The figures of a codebook say what they claim, and a collapsed one is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.settings import EncoderSettings
from spire_ray.units import codebook_plots, quality
from spire_ray.units.codebook import Codebook
from spire_ray.units.fingerprint import Identity

PHONES = [{"symbol": "a", "start": 0.01, "end": 0.05}, {"symbol": "b", "start": 0.05, "end": 0.10}]


def tally(pairs, clusters=4):
    phones, labels = zip(*pairs, strict=True)
    joint = quality.joint_counts(phones, np.array(labels), clusters)
    return quality.Tally(len(pairs), len(pairs), (0.0,), joint)


def figures(pairs, clusters=4):
    return quality.figures(np.ones(clusters, np.int64), tally(pairs, clusters), 50.0)


def test_even_use_has_all_the_bits_and_dead_and_tiny_units_are_counted():
    even = quality.figures(np.full(256, 7), quality.Tally(), 50.0)
    assert even["entropy"] == pytest.approx(8)
    assert (even["dead"], even["tiny"], even["coverage"]) == (0, 0, 1)
    uneven = quality.figures(np.array([1_000, 900, 1, 0]), quality.Tally(), 50.0)
    assert (uneven["dead"], uneven["tiny"], uneven["coverage"]) == (1, 1, 0.75)


def test_units_that_are_phones_explain_them_and_random_ones_nothing():
    perfect = figures([("a", 0), ("b", 1)] * 50)
    assert perfect["pnmi"] == pytest.approx(1)
    assert perfect["phone_purity"] == perfect["cluster_purity"] == pytest.approx(1)
    nothing = figures([("a", 0), ("b", 0), ("a", 1), ("b", 1)] * 50)
    assert nothing["pnmi"] == pytest.approx(0)
    assert nothing["phone_purity"] == pytest.approx(0.5)


def test_finer_units_are_as_pure_but_split_the_phone():
    split = figures([("a", 0), ("a", 2), ("b", 1), ("b", 3)] * 50)
    assert split["pnmi"] == pytest.approx(1)
    assert split["phone_purity"] == pytest.approx(1)
    assert split["cluster_purity"] == pytest.approx(0.5)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=2, max_size=60), st.integers(1, 59))
def test_tallies_of_parts_add_up_to_that_of_the_whole(pairs, cut):
    cut = min(cut, len(pairs) - 1)
    added = quality.figures(np.ones(4, np.int64), tally(pairs[:cut]) + tally(pairs[cut:]), 50.0)
    assert added == pytest.approx(figures(pairs))
    assert -1e-9 <= added["pnmi"] <= 1 + 1e-9


def test_the_phone_of_a_frame_is_the_one_at_its_middle():
    # frames of 20 ms: middles at 10, 30, … 110 ms
    assert quality.phones_of_frames(PHONES, 6, 50.0) == ["a", "a", "b", "b", "b", ""]
    assert quality.phones_of_frames([{"symbol": "a", "start": 0.02, "end": 0.03}], 2, 50.0) == ["", ""]


def test_tokens_per_second_follow_from_frame_rate_and_deduplication():
    found = quality.figures(np.ones(4, np.int64), quality.Tally(100, 70, (50.0,)), 50.0)
    assert found["units_per_second"] == pytest.approx(35)
    assert found["dedup_ratio"] == pytest.approx(0.7)
    assert found["held_out_inertia"] == pytest.approx(0.5)


def test_a_collapsed_codebook_is_refused_with_its_figures_and_a_sound_or_unknown_one_is_not():
    identity = Identity(encoder="e", weights="w", layer=1, norm="none", waveform="none", frame_rate=50)

    def made(fit, distinct=100):
        centroids = np.repeat(np.arange(100)[:distinct], 100 // distinct)[:, None].repeat(2, axis=1).astype(np.float32)
        return Codebook.create(centroids, EncoderSettings(), identity, fit)

    def measured(counts):
        return {"quality": quality.figures(counts, quality.Tally(), 50.0)}

    made({}).check_sound("c")
    with pytest.raises(ValueError, match=r"codebook=c: has collapsed: 10 of 100 centroids are distinct"):
        made({}, distinct=10).check_sound("c")
    made(measured(np.full(100, 9))).check_sound("c")
    few = np.where(np.arange(100) < 30, 100, 0)
    with pytest.raises(ValueError, match=r"codebook=c: has collapsed: 30% of 100 units are used"):
        made(measured(few)).check_sound("c")
    one = np.where(np.arange(100) == 0, 100_000, 10)
    with pytest.raises(ValueError, match=r"an entropy of 0\.\d\d bits of 6\.64"):
        made(measured(one)).check_sound("c")


def test_the_picture_is_drawn_with_and_without_phones():
    found = tally([("a", 0), ("b", 1), ("b", 2)] * 9)
    measured = figures([("a", 0), ("b", 1), ("b", 2)] * 9)
    sizes = [len(codebook_plots.codebook([3.0, 2.0], np.array([5, 3, 1, 0]), measured, joint)) for joint in ({}, found.joint)]
    assert 5_000 < sizes[0] < sizes[1]
