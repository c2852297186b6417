"""F1 of named entities in percent: an entity is right where its class and both its ends are, as conlleval counts."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from spire_ray.evaluation.metrics import METRICS, MetricKind, Scored
from spire_ray.evaluation.tasks.ner import CLASSES, coarse

_PAIR = re.compile(r"""\(\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*,\s*["']([^"']*)["']\s*\)""")
"""`("token", "tag")`: read one by one, since an answer that breaks off is no list."""


class SequenceF1:
    """An answer has a pair for each token. One that is too short is filled with O, one too long is cut; unknown tags are O."""

    signature = "conlleval|classes:6"
    counts: tuple[str, ...] = ("right", "named", "entities")

    def statistics(self, rows: Sequence[Scored]) -> list[list[float] | None]:
        """Entities that are right, that were named, and that there are."""
        return [self._row(row) for row in rows]

    def value(self, sums: np.ndarray) -> float:
        """Percent: the harmonic mean of precision and recall, 2 · right / (named + entities)."""
        right, named, there = (float(each) for each in sums)
        return 200 * right / (named + there) if named + there else 0.0

    def _row(self, row: Scored) -> list[float]:
        try:
            gold = [coarse(tag) for tag in row.reference.split()]
        except ValueError as error:
            raise ValueError(f"row {row.utt_id}: {error}") from None
        said = [_known(tag) for tag in _PAIR.findall(row.hypothesis)]
        said = [*said, *(["O"] * (len(gold) - len(said)))][: len(gold)]
        there, named = set(entities(gold)), set(entities(said))
        return [len(there & named), len(named), len(there)]


def _known(tag: str) -> str:
    return tag if tag[2:] in CLASSES and tag[:2] in ("B-", "I-") else "O"


def entities(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first, end, class) of each: one begins at B, and at an I that does not go on with the one before it."""
    start, open_class = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        goes_on = tag == f"I-{open_class}"
        if open_class and not goes_on:
            yield start, place, open_class
        if not goes_on:
            start, open_class = place, tag[2:]


METRICS.register("f1", MetricKind(make=lambda settings, language: SequenceF1(), measures="tags", title="F1"))
