"""Frame labels ↔ deduplicated units with durations ↔ text.

Surface forms: one private-use character for each unit, U+F0000 + i (SpireLM's released form), or `<extra_id_i>` (the
form of its training data). Neither uses a separator.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Surface = Literal["pua", "extra_id"]

PRIVATE_USE_OFFSET = 0xF0000
"""Code point of unit 0 (SpireLM: PRIVATE_OFFSET)."""
_PRIVATE_USE_END = 0xFFFFD
_LARGEST = int(np.iinfo(np.uint16).max)
_EXTRA_ID = re.compile(r"<extra_id_(\d+)>")


def deduplicate(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse runs: frame labels [T] → units uint16 [n] and their durations in frames, uint16 [n].

    A run longer than 65,535 frames is written as several units of the same id, so that `expand` is always exact.
    Raises ValueError for a label that is no unit.
    """
    labels = np.asarray(labels)
    if labels.size == 0:
        return np.zeros(0, np.uint16), np.zeros(0, np.uint16)
    if labels.min() < 0 or labels.max() > _LARGEST:
        raise ValueError(f"labels {labels.min()} to {labels.max()}: units are 0 to {_LARGEST}")
    starts = np.concatenate([[0], np.flatnonzero(labels[1:] != labels[:-1]) + 1])
    lengths = np.diff(np.append(starts, labels.size))
    units = labels[starts]
    if lengths.max() > _LARGEST:
        pieces = -(-lengths // _LARGEST)
        last = lengths - (pieces - 1) * _LARGEST
        units = np.repeat(units, pieces)
        lengths = np.concatenate([[_LARGEST] * (n - 1) + [rest] for n, rest in zip(pieces, last, strict=True)])
    return units.astype(np.uint16), lengths.astype(np.uint16)


def expand(units: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Inverse of `deduplicate`: frame labels uint16 [sum of durations]."""
    return np.repeat(np.asarray(units, np.uint16), durations)


def _check(style: str) -> None:
    if style not in get_args(Surface):
        raise ValueError(f"style={style}: must be one of {', '.join(get_args(Surface))}")


def token(unit: int, style: Surface = "pua") -> str:
    """The word of one unit. Raises ValueError for an id that the surface form cannot hold."""
    if style == "extra_id" and 0 <= unit <= _LARGEST:
        return f"<extra_id_{unit}>"
    if style == "pua" and 0 <= unit <= _PRIVATE_USE_END - PRIVATE_USE_OFFSET:
        return chr(PRIVATE_USE_OFFSET + unit)
    if style == "pua" and 0 <= unit <= _LARGEST:
        raise ValueError(f"unit {unit} has no private-use character; use the surface form extra_id")
    _check(style)
    raise ValueError(f"unit {unit}: units are 0 to {_LARGEST}")


def encode(units: Sequence[int] | np.ndarray, style: Surface = "pua") -> str:
    """Units as text. Raises ValueError as `token`, and for what are no whole numbers."""
    given = np.asarray(units)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"units {given.dtype} {list(given.shape)}: must be one row of whole numbers")
    _check(style)
    return "".join(token(unit, style) for unit in given.tolist())


def decode(text: str, style: Surface = "pua") -> np.ndarray:
    """Inverse of `encode`: uint16 [n]. Raises ValueError when anything but units stands in the text."""
    _check(style)
    if style == "extra_id":
        if _EXTRA_ID.sub("", text):
            raise ValueError(f"not only units: {_EXTRA_ID.sub('', text)[:40]!r}")
        numbers = [int(i) for i in _EXTRA_ID.findall(text)]
        if max(numbers, default=0) > _LARGEST:
            raise ValueError(f"not only units: <extra_id_{max(numbers)}>, but units are stored as uint16")
        return np.array(numbers, np.uint16)
    ids = [ord(character) - PRIVATE_USE_OFFSET for character in text]
    if any(not 0 <= i <= _PRIVATE_USE_END - PRIVATE_USE_OFFSET for i in ids):
        raise ValueError("not only units: a character outside the private-use plane U+F0000")
    return np.array(ids, np.uint16)


def without_units(text: str) -> str:
    """A text without the surface form of any unit."""
    return "".join(c for c in _EXTRA_ID.sub("", text) if not PRIVATE_USE_OFFSET <= ord(c) <= _PRIVATE_USE_END)


def holds_units(text: str) -> bool:
    """Whether a text carries the surface form of any unit: speech smuggled in as text."""
    return bool(_EXTRA_ID.search(text)) or any(PRIVATE_USE_OFFSET <= ord(c) <= _PRIVATE_USE_END for c in text)
