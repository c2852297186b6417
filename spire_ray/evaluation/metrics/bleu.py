"""BLEU in percent, with sacrebleu's tokenizer for the language of the answers."""

from spire_ray.evaluation.metrics import METRICS, MetricKind
from spire_ray.evaluation.metrics._sacrebleu import SacreBleu, bleu
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language


def make(settings: ScoringSettings, language: Language) -> SacreBleu:
    """See `MetricKind.make`."""
    if settings.bleu_tokenizer:
        return bleu(settings.bleu_tokenizer, f"bleu_tokenizer={settings.bleu_tokenizer}")
    return bleu(language.sacrebleu, f"metrics: bleu of {language.name}")


METRICS.register("bleu", MetricKind(make=make, measures="translation", title="BLEU"))
