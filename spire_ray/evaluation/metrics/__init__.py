"""What answers are measured by.

A metric turns every row into a few numbers, and the sums of these numbers into one figure. So the figure is that of the whole
corpus, as its library finds it, and samples of rows, which confidence intervals and comparisons need, cost a sum each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spire_ray.core.registry import Registry
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language


@dataclass(frozen=True)
class Scored:
    """A row with an answer."""

    utt_id: str
    hypothesis: str
    reference: str
    text: str = ""
    """What a translation was made of, or the translation of a transcript."""


class Metric(Protocol):
    """A metric for answers in one language."""

    signature: str
    """All that decides its figures, with versions."""
    counts: tuple[str, ...]
    """Names of the first numbers of a row that are shown as sums, such as substitutions."""

    def statistics(self, rows: Sequence[Scored]) -> Sequence[Sequence[float] | None]:
        """The numbers of each row; None for one whose reference holds nothing that counts."""
        ...

    def value(self, sums: np.ndarray) -> float:
        """The figure of rows whose numbers add up to `sums`, float64 [k]."""
        ...


@dataclass(frozen=True, kw_only=True)
class MetricKind:
    """How a metric is made, and what it is good for."""

    make: Callable[[ScoringSettings, Language], Metric]
    """Settings and language of the answers → metric. Raises ValueError for what it lacks, before anything is asked."""
    measures: str
    """Kind of the answers, as a task says it: `transcript`, `translation`, …"""
    title: str
    higher_is_better: bool = True
    fits: Callable[[Language], bool] = lambda language: True
    """Whether it says anything of answers in a language."""


METRICS: Registry[MetricKind] = Registry("metric", "spire_ray.evaluation.metrics")
