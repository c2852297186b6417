"""Character error rate in percent, for languages whose words are not written apart."""

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._error_rate import ErrorRate

METRICS.register(
    "cer",
    MetricKind(
        make=lambda settings, language: ErrorRate("characters", language),
        measures="transcript",
        title="CER",
        higher_is_better=False,
    ),
)
