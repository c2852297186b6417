"""Learning-rate schedules, as the share of the peak rate at a step."""

import math

from spire_ray.settings import Optimiser


def rate(optimiser: Optimiser, step: int, steps: int) -> float:
    """Share of the peak rate for the update number `step` (from 0) of `steps`.

    Warm-up is linear. `cosine` falls from the end of the warm-up to `final_lr_share`; `linear` stays at the peak and
    falls over the last `decay_share` of the steps.
    """
    if step < optimiser.warmup_steps:
        return (step + 1) / optimiser.warmup_steps
    final = optimiser.final_lr_share
    if optimiser.schedule == "constant":
        return 1.0
    if optimiser.schedule == "linear":
        fall = max(1.0, optimiser.decay_share * steps)
        return final + (1 - final) * min(1.0, (steps - step) / fall)
    done = (step - optimiser.warmup_steps) / max(1, steps - optimiser.warmup_steps)
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
