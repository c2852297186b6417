"""Filters of a recipe: each gives the reason why a row makes no document, or nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spire_ray.packs.mixture import SPEECH_TASKS, SkipRow
from spire_ray.settings import SourceSettings


def check(source: SourceSettings, row: Mapping[str, Any]) -> None:
    """Raise SkipRow for a row that the filters of its source leave out. Duplicates are found later, over all rows."""
    filters = source.filters
    if filters.languages and row.get("language") not in filters.languages:
        raise SkipRow("language", f"{row.get('language')} is not one of {', '.join(filters.languages)}")
    if filters.length_ratio and source.target_language:
        _length_ratio(source, row, filters.length_ratio)
    if source.task in SPEECH_TASKS:
        if any(filters.characters_per_second):
            _characters_per_second(row, *filters.characters_per_second)
        if filters.unit_entropy:
            _unit_entropy(row, filters.unit_entropy)


def _length_ratio(source: SourceSettings, row: Mapping[str, Any], most: float) -> None:
    translations = {**dict(row.get("translations") or ()), row.get("language"): row.get("text")}
    code = source.source_language or row.get("language")
    lengths = sorted(len(str(translations.get(c) or "").strip()) for c in (code, source.target_language))
    if lengths[0] and lengths[1] / lengths[0] > most:
        raise SkipRow("length ratio", f"{lengths[1] / lengths[0]:.1f} is above {most:g}")


def _characters_per_second(row: Mapping[str, Any], fewest: float, most: float) -> None:
    seconds = row.get("duration") or 0.0
    if seconds <= 0:
        return
    rate = len(str(row.get("text") or "")) / seconds
    if rate < fewest or (most and rate > most):
        raise SkipRow("characters per second", f"{rate:.1f} is not within {fewest:g} to {most:g}")


def _unit_entropy(row: Mapping[str, Any], least: float) -> None:
    units = row.get("units")
    entropy = unit_entropy(np.asarray(units)) if units is not None and len(units) else least
    if entropy < least:
        raise SkipRow("unit entropy", f"{entropy:.2f} bits are below {least:g}")


def unit_entropy(units: np.ndarray) -> float:
    """Entropy of the units of one clip in bits."""
    _, counts = np.unique(units, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
