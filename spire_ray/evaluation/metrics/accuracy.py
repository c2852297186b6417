"""Answers that are the reference, in percent."""

from collections.abc import Sequence

import numpy as np

from spire_ray.evaluation.metrics import METRICS, MetricKind, Scored


class Accuracy:
    """Of choices: equal or not."""

    signature = "equal"
    counts: tuple[str, ...] = ("right",)

    def statistics(self, rows: Sequence[Scored]) -> list[list[float]]:
        """Whether it is right, and one."""
        return [[float(row.hypothesis == row.reference), 1.0] for row in rows]

    def value(self, sums: np.ndarray) -> float:
        """Percent."""
        return 100 * float(sums[0] / sums[1])


METRICS.register("accuracy", MetricKind(make=lambda settings, language: Accuracy(), measures="choice", title="accuracy"))
