"""COMET with references, in percent, by unbabel-comet in an environment of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spire_ray.core import copies, storage
from spire_ray.evaluation import comet
from spire_ray.evaluation.metrics import METRICS, MetricKind, Scored
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language


class Comet:
    """The mean of a COMET model's scores, times 100."""

    counts: tuple[str, ...] = ()

    def __init__(self, settings: ScoringSettings, language: Language) -> None:
        self._settings = settings.comet
        if not Path(self._settings.python).is_file():
            raise ValueError(
                f"comet.python={self._settings.python}: no such interpreter; name that of an environment with unbabel-comet"
            )
        self.signature = f"model:{self._settings.model}"

    def statistics(self, rows: Sequence[Scored]) -> list[list[float] | None]:
        """The score of a row, and 1; None for one without the text that its translation is of."""
        given = self._settings
        model = copies.localize(given.model) if storage.exists(given.model) else given.model
        asked = [{"src": row.text, "mt": row.hypothesis, "ref": row.reference} for row in rows if row.text]
        found = comet.scores(asked, model, given.python, batch_size=given.batch_size, gpus=given.gpus, field="comet")
        scores = iter(found)
        return [[next(scores), 1.0] if row.text else None for row in rows]

    def value(self, sums: np.ndarray) -> float:
        """Percent."""
        return 100 * float(sums[0] / sums[1])


METRICS.register("comet", MetricKind(make=Comet, measures="translation", title="COMET"))
