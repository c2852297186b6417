"""BLEU in percent over the pieces of FLORES-200's sentencepiece model, the same for every language."""

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._sacrebleu import bleu

METRICS.register(
    "spbleu",
    MetricKind(make=lambda settings, language: bleu("flores200", "metrics: spbleu"), measures="translation", title="spBLEU"),
)
