"""How far chance may have moved a figure: bootstrap over rows (Koehn, 2004), and paired between two systems.

A sample draws as many rows as there are, with replacement. Its figure is that of its own sums, not a mean of figures of rows.
The samples are sacrebleu's. The test counts both sides: how often the difference in a sample is as far from the mean difference
as the one that was found is from nothing. sacrebleu's own counts one side, and calls 12 of 100 pairs of equal systems different
at 5 % where this one calls 6; its p is told beside. Several tests are corrected together (Holm, 1979).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Value = Callable[[np.ndarray], float]
Key = TypeVar("Key")

LEVEL = 0.05
"""Of intervals and of tests: 1 in 20."""
_AT_ONCE = 1 << 22
"""Drawn rows that are held at the same time."""


def sampled(statistics: np.ndarray, value: Value, samples: int, seed: int) -> np.ndarray:
    """Figures float64 [samples] of samples of rows, from numbers by row [n, k]. Equal n and seed draw the same rows."""
    rows, draw = len(statistics), np.random.default_rng(seed)
    figures: list[float] = []
    while len(figures) < samples:
        some = min(samples - len(figures), max(1, _AT_ONCE // rows))
        drawn = draw.integers(0, rows, (some, rows))
        # how often each row was drawn, times its numbers: less memory than the numbers of every drawn row
        often = np.stack([np.bincount(one, minlength=rows) for one in drawn])
        figures += [value(sums) for sums in often @ statistics]
    return np.array(figures)


def interval(figures: np.ndarray) -> tuple[float, float]:
    """The bounds that leave out 2.5 % of sampled figures on either side."""
    low, high = np.quantile(figures, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def p_value(one: np.ndarray, other: np.ndarray, difference: float) -> float:
    """How likely chance makes such a difference, from figures of two systems on the same samples."""
    differences = one - other
    spread = np.abs(differences - differences.mean())
    tolerance = 1e-9  # the same counts in another order
    return float(((spread >= abs(difference) - tolerance).sum() + 1) / (len(differences) + 1))


def one_sided(one: np.ndarray, other: np.ndarray, difference: float) -> float:
    """The p-value that `sacrebleu --paired-bs` prints."""
    sizes = np.abs(one - other)
    return float(((sizes - sizes.mean() > abs(difference)).sum() + 1) / (len(sizes) + 1))


def corrected(found: Mapping[Key, float]) -> dict[Key, float]:
    """p-values of several tests, corrected for their number (Holm)."""
    ordered: Sequence[Key] = sorted(found, key=lambda key: found[key])
    least, result = 0.0, {}
    for place, key in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - place) * found[key]))
        result[key] = least
    return {key: result[key] for key in found}
