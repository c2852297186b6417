"""Intervals hold what they promise, and a difference by chance is called one."""

import numpy as np
import pytest

from spire_ray.evaluation import comparing, significance
from spire_ray.evaluation.scoring import Figure
from spire_ray.settings import ScoreSettings


def wer(sums):
    return 100 * float(sums[0] / sums[1])


def system(draw, rows, words=20, rate=0.1, hard=None):
    """Errors and words by row; `hard` makes the same rows hard for every system."""
    hard = draw.gamma(2, 0.5, rows) if hard is None else hard
    return np.stack([draw.binomial(words, np.clip(rate * hard, 0, 1)), np.full(rows, words)], 1).astype(np.float64)


def compared(one, other, samples=200, seed=0):
    figures = [significance.sampled(each, wer, samples, seed) for each in (one, other)]
    return significance.p_value(*figures, wer(one.sum(0)) - wer(other.sum(0)))


def test_the_same_seed_draws_the_same_samples_and_the_interval_holds_the_figure():
    numbers = system(np.random.default_rng(0), 300)
    samples = significance.sampled(numbers, wer, 500, 1)
    assert np.array_equal(samples, significance.sampled(numbers, wer, 500, 1))
    assert not np.array_equal(samples, significance.sampled(numbers, wer, 500, 2))
    low, high = significance.interval(samples)
    assert low < wer(numbers.sum(0)) < high
    # as wide as theory has it: a ratio of sums whose denominator is fixed
    assert high - low == pytest.approx(2 * 1.96 * 100 * numbers[:, 0].std() / 20 / np.sqrt(300), rel=0.15)


def test_a_sample_is_scored_by_its_own_sums(monkeypatch):
    numbers = np.array([[1.0, 2.0], [0.0, 20.0]])
    samples = significance.sampled(numbers, wer, 200, 0)
    assert set(np.round(samples, 6)) == {50.0, 0.0, round(100 / 22, 6)}
    monkeypatch.setattr(significance, "_AT_ONCE", 6)  # drawn three at a time, the same
    assert np.array_equal(samples, significance.sampled(numbers, wer, 200, 0))


def test_systems_that_are_one_differ_by_chance_in_one_of_twenty():
    draw, hits, one_sided = np.random.default_rng(7), 0, 0
    for trial in range(1000):
        hard = draw.gamma(2, 0.5, 150)
        one, other = system(draw, 150, hard=hard), system(draw, 150, hard=hard)
        swapped = draw.random(150) < 0.5
        one[swapped], other[swapped] = other[swapped], one[swapped].copy()
        figures = [significance.sampled(each, wer, 200, trial) for each in (one, other)]
        difference = wer(one.sum(0)) - wer(other.sum(0))
        hits += significance.p_value(*figures, difference) < significance.LEVEL
        one_sided += significance.one_sided(*figures, difference) < significance.LEVEL
    assert 30 <= hits <= 70 and one_sided > 100  # which is why sacrebleu's own p decides nothing here


def test_two_points_of_wer_are_found_in_2000_rows():
    draw, found = np.random.default_rng(3), 0
    for trial in range(100):
        hard = draw.gamma(2, 0.5, 2000)
        found += compared(system(draw, 2000, rate=0.12, hard=hard), system(draw, 2000, rate=0.10, hard=hard), 200, trial) < 0.05
    assert found >= 90


def test_a_system_does_not_differ_from_itself():
    one = system(np.random.default_rng(0), 50)
    assert compared(one, one) == 1


def test_several_tests_are_corrected_together():
    assert significance.corrected({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert significance.corrected({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert significance.corrected({}) == {}


def figure(model, ids, numbers):
    class Made:
        signature, counts = "", ()
        value = staticmethod(wer)

    samples = significance.sampled(numbers, wer, 100, 12345)
    place = {"task": "asr", "languages": "en", "metric": "wer"}
    return Figure(
        model=model, **place, value=wer(numbers.sum(0)), low=0, high=0, counts={}, scored=len(ids), made=Made(), ids=ids,
        statistics=numbers, samples=samples,
    )  # fmt: skip


def test_models_are_compared_by_the_rows_that_both_have():
    draw = np.random.default_rng(0)
    ids = [f"u{n}" for n in range(100)]
    good, bad = system(draw, 100, rate=0.05), system(draw, 100, rate=0.2)
    settings = ScoreSettings(output="", hypotheses="", bootstrap=100)
    figures = [figure("a", ids, good), figure("b", ids, bad), figure("c", ids[10:], good[10:]), figure("d", ["x"], good[:1])]
    found = {(each.one, each.other): each for each in comparing.comparisons(settings, figures)}
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}  # d has no row in common with any
    assert found["a", "b"].corrected < 0.05 and found["a", "b"].difference < 0
    assert (found["a", "c"].rows, found["a", "c"].difference, found["a", "c"].p) == (90, 0, 1)
    assert found["b", "c"].corrected == pytest.approx(3 * found["b", "c"].p)  # of three pairs
