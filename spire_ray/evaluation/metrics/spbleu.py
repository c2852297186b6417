"""BLEU in percent over the pieces of FLORES-200's sentencepiece model, the same for every language."""

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._sacrebleu import SacreBleu, bleu, flores200
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language


def make(settings: ScoringSettings, language: Language) -> SacreBleu:
    """See `MetricKind.make`."""
    if not settings.spbleu_model:
        return bleu("flores200", "metrics: spbleu")
    return flores200(settings.spbleu_model, f"spbleu_model={settings.spbleu_model}")


METRICS.register("spbleu", MetricKind(make=make, measures="translation", title="spBLEU"))
