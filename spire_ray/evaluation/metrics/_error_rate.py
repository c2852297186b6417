"""Words or characters that are wrong, as jiwer counts them after one of Whisper's normalizers."""

from collections.abc import Callable, Sequence
from importlib.metadata import version

import jiwer
import numpy as np

from spire_ray.evaluation.metrics import Scored
from spire_ray.text.languages import Language


class ErrorRate:
    """WER or CER in percent. A reference that is empty after normalization is left out."""

    counts: tuple[str, ...] = ("substitutions", "deletions", "insertions")

    def __init__(self, unit: str, language: Language) -> None:
        self._process = jiwer.process_words if unit == "words" else jiwer.process_characters
        normalize = normalizer(language.normalizer)
        # punctuation becomes a space, which is no character of a language without them
        self._normalize = normalize if language.spaces else lambda text: normalize(text).replace(" ", "")
        normalizers = version("whisper-normalizer")
        self.signature = f"{unit}|norm:{language.normalizer}|whisper-normalizer:{normalizers}|jiwer:{version('jiwer')}"

    def statistics(self, rows: Sequence[Scored]) -> list[tuple[float, ...] | None]:
        """Substitutions, deletions, insertions, and words or characters of the reference."""
        return [self._row(self._normalize(row.reference), self._normalize(row.hypothesis)) for row in rows]

    def value(self, sums: np.ndarray) -> float:
        """Percent."""
        return 100 * float(sums[:3].sum() / sums[3])

    def _row(self, reference: str, hypothesis: str) -> tuple[float, ...] | None:
        if not reference:
            return None
        found = self._process(reference, hypothesis)
        return found.substitutions, found.deletions, found.insertions, found.hits + found.substitutions + found.deletions


def normalizer(name: str) -> Callable[[str], str]:
    """Whisper's normalizer for English, or its basic one for all other languages."""
    if name == "english":
        from whisper_normalizer.english import EnglishTextNormalizer

        english: Callable[[str], str] = EnglishTextNormalizer()
        return english
    from whisper_normalizer.basic import BasicTextNormalizer

    basic: Callable[[str], str] = BasicTextNormalizer()
    return lambda text: basic(text).strip()
