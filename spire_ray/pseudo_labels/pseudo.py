"""Pseudo-labels: which transcripts are translated into what, and which translations are kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.manifest.schema import UNITS
from spire_ray.packs import budget
from spire_ray.settings import QualitySettings
from spire_ray.text.languages import language
from spire_ray.units import codec

LABELS = pa.schema(
    [
        ("utt_id", pa.string()),
        ("language", pa.string()),
        ("target_language", pa.string()),
        ("text", pa.string()),
        ("translation", pa.string()),
        ("score", pa.float32()),
        ("scores", pa.map_(pa.string(), pa.float32())),
        ("system", pa.string()),
        ("error", pa.string()),
    ]
)
"""One translation a row, by the model `system`; `score` is null where nothing was scored, `scores` are those that other
programs found, `error` says why there is no translation."""

# what a decoder does for each translation, for the plan: prompt with transcript, and answer
_TOKENS_READ, _TOKENS_WRITTEN = 60, 35
_FLOPS_A_SECOND = 0.3 * 790e12


def gpu_hours(translations: int, parameters: float) -> float:
    """H200 hours of translating, at 30 % of the matrix rate: a plan's guess, not a measurement."""
    return translations * (_TOKENS_READ + _TOKENS_WRITTEN) * 2 * parameters / _FLOPS_A_SECOND / 3600


@dataclass(frozen=True)
class Request:
    """One translation to be made."""

    row: int
    target: str
    error: str = ""
    """Why it cannot be made."""


def requests(rows: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> list[Request]:
    """Every row into every target language but its own; a row that cannot be translated gets one request with the reason."""
    made = []
    for number, row in enumerate(rows):
        if error := _error(row):
            made.append(Request(number, "", error))
        else:
            made += [Request(number, target) for target in targets if target != row["language"]]
    return made


def _error(row: Mapping[str, Any]) -> str:
    text = row.get("text")
    if not text or not text.strip():
        return "no text"
    if codec.holds_units(text):
        return "units written as text"
    if not row.get("language"):
        return "no language, which source_language would say"
    try:
        language(str(row["language"]))
    except ValueError as error:
        return f"unknown language: {error}"
    return ""


def score(label: Mapping[str, Any], name: str) -> float:
    """One score of a translation; NaN where it has none of that name."""
    found = label["score"] if name == "score" else dict(label["scores"] or ()).get(name)
    return math.nan if found is None else float(found)


def better(candidates: Sequence[Sequence[Mapping[str, Any]]], by: str) -> list[Mapping[str, Any]]:
    """Of the labels of several systems the best of each transcript and language; among equals the first system's.

    One without the score is worse than any with it, and one without a translation worse than that.
    """
    best: dict[tuple[str, str], tuple[tuple[bool, float], Mapping[str, Any]]] = {}
    for label in (label for labels in candidates for label in labels):
        value = score(label, by)
        worth = (bool(label["translation"]), -math.inf if math.isnan(value) else value)
        key = (label["utt_id"], label["target_language"])
        if key not in best or worth > best[key][0]:
            best[key] = worth, label
    return [label for _, label in best.values()]


def good(label: Mapping[str, Any], quality: QualitySettings) -> bool:
    """Whether the scores of a translation are high enough; one that nobody scored is not held to the threshold."""
    known = label["score"] is None or label["score"] >= float(np.float32(quality.threshold))
    return known and all(score(label, name) >= float(np.float32(least)) for name, least in quality.minimum.items())


@dataclass(frozen=True)
class Cut:
    """The worst translation of a language that is kept: its score, and its rank among equal scores."""

    score: float = -math.inf
    rank: int = (1 << 64) - 1

    def keeps(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Bool [n], of translations that are good."""
        worth = _worth(scores)
        return np.asarray((worth > self.score) | ((worth == self.score) & (ranks <= np.uint64(self.rank))))


def cut(scores: np.ndarray, ranks: np.ndarray, top_k: int) -> Cut:
    """Where the good translations of one language are cut, if `top_k` allows fewer. Ties go by rank."""
    if not top_k or len(scores) <= top_k:
        return Cut()
    worth = _worth(scores)
    last = np.lexsort((ranks, -worth))[top_k - 1]
    return Cut(float(worth[last]), int(ranks[last]))


def _worth(scores: np.ndarray) -> np.ndarray:
    """Scores, with what has none below all."""
    return np.where(np.isnan(scores), -np.inf, scores)


def ranks(utt_ids: Sequence[str], target: str) -> np.ndarray:
    """uint64: an order of rows that looks random and is always the same."""
    return np.array([budget.key(0, utt_id, target) for utt_id in utt_ids], np.uint64)


def rows_with_translations(rows: pa.Table, kept: Sequence[tuple[str, str, str]]) -> pa.Table:
    """The rows that have a kept translation, (utt_id, target language, text), with these as their translations.

    Raises ValueError for a translation of none of the rows.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for utt_id, target, text in kept:
        found.setdefault(utt_id, []).append((target, text))
    ids = rows["utt_id"].to_pylist()
    if gone := found.keys() - set(ids):
        raise ValueError(f"data: row {min(gone)} was translated and is gone; put it back or choose another output")
    chosen = rows.filter(pa.array([utt_id in found for utt_id in ids], pa.bool_()))
    column = pa.array([sorted(found[utt_id]) for utt_id in ids if utt_id in found], UNITS.field("translations").type)
    place = chosen.schema.get_field_index("translations")
    return chosen.set_column(place, "translations", column) if place >= 0 else chosen.append_column("translations", column)
