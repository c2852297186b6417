"""F-score of character n-grams (chrF2) in percent."""

import sacrebleu

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._sacrebleu import SacreBleu

METRICS.register(
    "chrf",
    MetricKind(make=lambda settings, language: SacreBleu(sacrebleu.CHRF()), measures="translation", title="chrF"),
)
