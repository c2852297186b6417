"""Any two models in what both were asked: whether the difference of their figures is more than chance."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spire_ray.evaluation import significance
from spire_ray.evaluation.scoring import Figure
from spire_ray.settings import ScoringSettings


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models, by the rows that were scored of both."""

    task: str
    languages: str
    metric: str
    one: str
    other: str
    rows: int
    difference: float
    """The figure of the one less that of the other."""
    p: float
    corrected: float
    """p corrected for the number of pairs of models."""
    paired_bs: float
    """p as `sacrebleu --paired-bs` counts it, on one side alone."""


def comparisons(settings: ScoringSettings, found: Sequence[Figure]) -> list[Comparison]:
    """The comparisons of every task, direction and metric; none for models that have no row in common."""
    alike: dict[tuple[str, str, str], list[Figure]] = {}
    for each in found:
        alike.setdefault((each.task, each.languages, each.metric), []).append(each)
    return [comparison for group in alike.values() for comparison in _of_one_metric(settings, group)]


def _of_one_metric(settings: ScoringSettings, group: Sequence[Figure]) -> list[Comparison]:
    pairs = [pair for pair in itertools.combinations(group, 2) if set(pair[0].ids) & set(pair[1].ids)]
    tests = [_tested(settings, one, other) for one, other in pairs]
    corrected = significance.corrected({number: p for number, (_, _, p, _) in enumerate(tests)})
    return [
        Comparison(
            task=one.task,
            languages=one.languages,
            metric=one.metric,
            one=one.model,
            other=other.model,
            rows=rows,
            difference=difference,
            p=p,
            corrected=corrected[number],
            paired_bs=paired_bs,
        )
        for number, ((one, other), (rows, difference, p, paired_bs)) in enumerate(zip(pairs, tests, strict=True))
    ]


def _tested(settings: ScoringSettings, one: Figure, other: Figure) -> tuple[int, float, float, float]:
    """Rows, difference and both p-values on the rows that both have."""
    if one.ids == other.ids:
        return one.scored, *_p_values(one.samples, other.samples, one.value - other.value)
    places = {utt_id: place for place, utt_id in enumerate(other.ids)}
    common = [(place, places[utt_id]) for place, utt_id in enumerate(one.ids) if utt_id in places]
    mine, yours = one.statistics[[place for place, _ in common]], other.statistics[[place for _, place in common]]
    difference = one.made.value(mine.sum(0)) - other.made.value(yours.sum(0))
    samples = [
        significance.sampled(numbers, figure.made.value, settings.bootstrap, settings.seed)
        for numbers, figure in ((mine, one), (yours, other))
    ]
    return len(common), *_p_values(samples[0], samples[1], difference)


def _p_values(one: np.ndarray, other: np.ndarray, difference: float) -> tuple[float, float, float]:
    return difference, significance.p_value(one, other, difference), significance.one_sided(one, other, difference)
