"""COMET-22, COMETKiwi (without references) and xCOMET, in percent, by unbabel-comet in an environment of its own."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from spire_ray.core import copies, storage
from spire_ray.evaluation import comet
from spire_ray.evaluation.metrics import METRICS, MetricKind, Scored
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language

_MODELS = {"comet": "model", "cometkiwi": "kiwi", "xcomet": "xcomet"}
"""Metric → the setting that names its model."""


class Comet:
    """The mean of a model's scores, times 100."""

    counts: tuple[str, ...] = ()

    def __init__(self, settings: ScoringSettings, language: Language, name: str = "comet") -> None:
        self._settings, self._field, self._references = settings.comet, f"comet.{_MODELS[name]}", name != "cometkiwi"
        self._model: str = getattr(settings.comet, _MODELS[name])
        self.signature = f"model:{self._model}|unbabel-comet:{comet.version(settings.comet.python, 'comet')}"

    def statistics(self, rows: Sequence[Scored]) -> list[list[float] | None]:
        """The score of a row, and 1; None for one without the text that its translation is of."""
        given = self._settings
        model = copies.localize(self._model) if storage.exists(self._model) else self._model
        asked = [self._asked(row) for row in rows if row.text]
        found = comet.scores(asked, model, given.python, batch_size=given.batch_size, gpus=given.gpus, field=self._field)
        scores = iter(found)
        return [[next(scores), 1.0] if row.text else None for row in rows]

    def value(self, sums: np.ndarray) -> float:
        """Percent."""
        return 100 * float(sums[0] / sums[1])

    def _asked(self, row: Scored) -> dict[str, str]:
        return {"src": row.text, "mt": row.hypothesis, **({"ref": row.reference} if self._references else {})}


def models(settings: ScoringSettings) -> Iterator[str]:
    """The models that the metrics of settings need."""
    yield from (getattr(settings.comet, field) for name, field in _MODELS.items() if name in settings.metrics)


for _name, _title in (("comet", "COMET"), ("cometkiwi", "COMETKiwi"), ("xcomet", "xCOMET")):
    METRICS.register(_name, MetricKind(make=partial(Comet, name=_name), measures="translation", title=_title))
