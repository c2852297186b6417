"""Which rows of a model folder its extension made, and which others the base model never trained."""

import sys

from spire_ray.text.record import UnitVocabulary
from spire_ray.text.tokenizer import control_words


def new_rows(model: str) -> tuple[range, int]:
    """Token ids of the units of a model folder, and the first row that its extension added.

    Control words that the base tokenizer brought as its last ones count as added: the base model never trained them.
    """
    vocabulary = UnitVocabulary.load(model)
    if vocabulary is None:
        return range(0), sys.maxsize
    first = vocabulary.first_new_row or vocabulary.first
    words = control_words(model, documents_alone=False)
    while first - 1 in words:
        first -= 1
    return range(vocabulary.first, vocabulary.first + vocabulary.count), first


def control_rows(model: str) -> tuple[int, ...]:
    """Rows before those that documents need and the base model never trained, such as `<EOD>`; none without an extension."""
    units, first = new_rows(model)
    return tuple(sorted(row for row in control_words(model) if row < first)) if units else ()
