"""Metrics of lm-evaluation-harness, which finds them itself: here they have a title, a direction, and a mean over rows."""

from collections.abc import Sequence

import numpy as np

from spire_ray.evaluation.metrics import METRICS, MetricKind, Scored

PREFIX = "harness_"
"""Before the harness's own name of a metric: its F1 is another than ours."""
SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "contains", "mcc")
"""Between 0 and 1 in the harness, in percent here."""
_FIGURES = {"bleu": True, "chrf": True, "ter": False, "rouge1": True, "rouge2": True, "rougeL": True, "rougeLsum": True}
_LOWER = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score")


class Mean:
    """The mean of what the harness says of each row."""

    signature = "lm-eval"
    counts: tuple[str, ...] = ()

    def statistics(self, rows: Sequence[Scored]) -> Sequence[Sequence[float] | None]:
        """Raises ValueError: only the stage harness has them."""
        raise ValueError("metrics: those of lm-evaluation-harness are found by the stage harness alone")

    def value(self, sums: np.ndarray) -> float:
        """Of numbers and how many they are."""
        return float(sums[0] / sums[1])


def scale(metric: str) -> float:
    """What a figure of the harness is multiplied by."""
    return 100.0 if metric in SHARES else 1.0


for _name, _higher in {**dict.fromkeys(SHARES, True), **_FIGURES, **dict.fromkeys(_LOWER, False)}.items():
    METRICS.register(
        f"{PREFIX}{_name}",
        MetricKind(make=lambda settings, language: Mean(), measures="harness", title=_name, higher_is_better=_higher),
    )
