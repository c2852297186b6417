"""Learning-rate schedules, as the share of the peak rate at a step."""

import math

from spire_ray.settings import OptimizerSettings


def warmup(optimizer: OptimizerSettings, steps: int) -> int:
    """Steps over which the rate rises."""
    return min(100, steps) if optimizer.warmup_steps is None else optimizer.warmup_steps


def rate(optimizer: OptimizerSettings, step: int, steps: int) -> float:
    """Share of the peak rate for the update number `step` (from 0) of `steps`.

    Warm-up is linear. `cosine` falls from the end of the warm-up to `final_lr_share`; `linear` stays at the peak and
    falls over the last `decay_share` of the steps.
    """
    rising = warmup(optimizer, steps)
    if step < rising:
        return (step + 1) / rising
    final = optimizer.final_lr_share
    if optimizer.schedule == "constant":
        return 1.0
    if optimizer.schedule == "linear":
        fall = max(1.0, optimizer.decay_share * steps)
        return final + (1 - final) * min(1.0, (steps - step) / fall)
    done = (step - rising) / max(1, steps - rising)
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
