"""Learning-rate schedules at their corner points."""

import pytest

from spire_ray.settings import OptimizerSettings
from spire_ray.training.schedule import rate


def rates(steps, **settings):
    return [rate(OptimizerSettings(**settings), step, steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warm_up_climbs_in_equal_steps_to_the_peak(schedule):
    assert rates(100, schedule=schedule, warmup_steps=4)[:4] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_falls_from_the_end_of_the_warm_up_to_the_final_share():
    curve = rates(104, schedule="cosine", warmup_steps=4, final_lr_share=0.1)
    assert curve[4] == 1.0
    assert curve[54] == pytest.approx(0.55)
    assert curve[103] == pytest.approx(0.1, abs=1e-3)
    assert rate(OptimizerSettings(schedule="cosine", warmup_steps=4, final_lr_share=0.1), 104, 104) == pytest.approx(0.1)
    assert curve[4:] == sorted(curve[4:], reverse=True)


def test_linear_stays_at_the_peak_and_falls_over_the_last_share_of_the_steps():
    curve = rates(100, schedule="linear", warmup_steps=10, decay_share=0.2, final_lr_share=0.1)
    assert curve[9:81] == [1.0] * 72
    assert curve[90] == pytest.approx(0.55)
    assert curve[99] == pytest.approx(0.1 + 0.9 / 20)
    assert rate(OptimizerSettings(schedule="linear", decay_share=0.2, warmup_steps=10), 100, 100) == 0


def test_constant_stays_at_the_peak():
    assert rates(50, schedule="constant", warmup_steps=0, final_lr_share=0.1) == [1.0] * 50


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_without_warm_up_the_first_step_has_the_peak_rate(schedule):
    assert rates(10, schedule=schedule, warmup_steps=0)[0] == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_training_shorter_than_its_warm_up_only_climbs(schedule):
    assert rates(3, schedule=schedule, warmup_steps=10) == pytest.approx([0.1, 0.2, 0.3])
