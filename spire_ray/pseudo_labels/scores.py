"""Scores of translations that a plugin finds while they are made, beside that of COMET: BLASER 2 and xCOMET are such."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spire_ray.core.registry import Registry

Score = Callable[[Sequence[Mapping[str, Any]]], Sequence[float | None]]
"""Translations (`utt_id`, `text`, `language`, `target_language`, `translation`) → a number each; None where there is none."""

SCORES: Registry[Callable[[], Score]] = Registry("score")
"""What makes a score, once in every worker; a plugin registers it: `SCORES.register("length", Length)`."""


class Scorer:
    """The scores that the settings name, made once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._made = {name: SCORES[name]() for name in names}

    def add(self, labels: Sequence[dict[str, Any]]) -> None:
        """Add every score to the translations among the labels.

        Raises ValueError, naming the row, for a number that is none, and for fewer or more numbers than translations.
        """
        wanted = [label for label in labels if label["translation"]]
        for name, score in self._made.items():
            found = score(wanted) if wanted else []
            if len(found) != len(wanted):
                raise ValueError(f"quality.scores: {name} gave {len(found)} numbers for {len(wanted)} translations")
            for label, value in zip(wanted, found, strict=True):
                if value is not None and not math.isfinite(value):
                    raise ValueError(f"quality.scores: {name} gave {value} for {label['utt_id']} → {label['target_language']}")
                if value is not None:
                    label["scores"] = [*(label["scores"] or ()), (name, float(value))]
