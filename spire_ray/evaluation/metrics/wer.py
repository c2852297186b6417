"""Word error rate in percent."""

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._error_rate import ErrorRate

METRICS.register(
    "wer",
    MetricKind(
        make=lambda settings, language: ErrorRate("words", language),
        measures="transcript",
        title="WER",
        higher_is_better=False,
        fits=lambda language: language.spaces,  # else a sentence would be one word
    ),
)
