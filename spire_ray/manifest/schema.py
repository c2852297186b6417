"""Rows of the platform: the manifest, and the units that labelling adds to it."""

import difflib
import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

MANIFEST = pa.schema(
    [
        ("utt_id", pa.string()),
        ("audio", AUDIO),
        ("offset", pa.float64()),
        ("duration", pa.float64()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("translations", pa.map_(pa.string(), pa.string())),
        ("corpus", pa.string()),
        ("split", pa.string()),
        ("speaker", pa.string()),
    ]
)
"""One utterance a row. `offset` and `duration` are seconds, `language` is ISO 639-1; `path` may be relative to the manifest,
and `FILE:START:SIZE` is a part of a file, such as a member of a tar."""

UNITS = pa.schema(
    [
        *(MANIFEST.field(name) for name in MANIFEST.names if name != "audio"),
        ("units", pa.list_(pa.uint16())),
        ("durations", pa.list_(pa.uint16())),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""The manifest without audio, with deduplicated units and their durations in frames; `status` is labelled or rejected."""

LOCALE = re.compile(r"^([A-Za-z]{2,3})[-_][A-Za-z0-9_-]+$")
"""`en-US`, of which a manifest says `en`."""

LABELLED, REJECTED = "labelled", "rejected"

Row = dict[str, Any]
Columns = Mapping[str, str]
"""Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""

_TRANSCRIPTS = ("transcription", "transcript", "sentence")
"""What corpora call a text; taken where no column is called `text`."""

EVERY_SPLIT = "all"

_TEXTS = [field.name for field in MANIFEST if field.type == pa.string()]
_NUMBERS = ("offset", "duration")


def in_split(split: str | None, wanted: str) -> bool:
    """Whether a row of a split, or of none, is wanted: "all" wants every row."""
    return wanted in (EVERY_SPLIT, split)


def check_columns(columns: Columns) -> None:
    """Raise ValueError for a mapping of a column that no manifest has."""
    for name in columns:
        if name not in MANIFEST.names and not name.startswith("translations."):
            close = difflib.get_close_matches(name, MANIFEST.names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(MANIFEST.names)}, translations.LANGUAGE"
            raise ValueError(f"columns.{name}: no column of a manifest; {hint}")


def with_text(columns: Columns, names: Collection[str]) -> Columns:
    """A mapping, with the usual name of a transcript where a source has no `text`."""
    found = next((name for name in _TRANSCRIPTS if name in names), "")
    return columns if not found or "text" in columns or "text" in names else {**columns, "text": found}


def mapped(row: Row, columns: Columns, place: str) -> Row:
    """A row under the manifest's own names. Raises ValueError naming `place` where a mapped column is absent."""
    named = dict(row)
    for name, source in with_text(columns, row).items():
        if source not in row:
            raise ValueError(f"{place}: no column {source!r} for columns.{name}; there are {', '.join(row)}")
        column, _, language = name.partition(".")
        if language:
            named["translations"] = {**(named.get("translations") or {}), language: row[source]}
        else:
            named[column] = row[source]
    return named


def to_table(rows: Iterable[tuple[str, Row]], strict: bool = True) -> pa.Table:
    """(place, row) pairs → a table; keys that no manifest has are left out.

    Numbers may be written as text. A row without `utt_id` gets the hash of its audio path as it is written, offset and
    duration. Raises ValueError naming the place of a value of a wrong kind; without `strict` a number that is none becomes NaN,
    which is a reason to reject its row.
    """
    placed = list(rows)
    try:
        return pa.Table.from_pylist([_clean(row, place, strict) for place, row in placed], MANIFEST)
    except UnicodeEncodeError:  # JSON may spell half a pair of surrogates: find the row
        for place, row in placed:
            try:
                pa.Table.from_pylist([_clean(row, place, strict)], MANIFEST)
            except UnicodeEncodeError:
                raise ValueError(f"{place}: not Unicode: half a pair of surrogates") from None
        raise


def derived_id(path: str | None, offset: float | None, duration: float | None) -> str:
    """The id of a row that has none of its own."""
    return hashlib.sha256(f"{path}|{offset}|{duration}".encode()).hexdigest()[:20]


def _clean(row: Row, place: str, strict: bool) -> Row:
    clean: Row = {name: _text(row.get(name), name, place) for name in _TEXTS}
    for name in _NUMBERS:
        clean[name] = _number(row.get(name), name, place, strict)
    clean["language"] = None if clean["language"] is None else _code(clean["language"])
    translations = row.get("translations") or {}
    if not isinstance(translations, Mapping):
        raise ValueError(f"{place}: translations={translations!r} is not a mapping of languages to texts")
    told = [(_code(str(code)), _text(text, f"translations.{code}", place)) for code, text in translations.items()]
    clean["translations"] = [(code, text) for code, text in told if text is not None]
    if len(dict(clean["translations"])) < len(clean["translations"]):
        raise ValueError(f"{place}: translations: two texts for one language among {', '.join(map(str, translations))}")
    audio = row.get("audio")
    clean["audio"] = {"path": audio} if isinstance(audio, str) else audio
    if clean["audio"] is not None and not isinstance(clean["audio"], Mapping):
        raise ValueError(f"{place}: audio={audio!r} is neither a path nor bytes with a path")
    path = (clean["audio"] or {}).get("path")
    if not isinstance(path, str | None):
        raise ValueError(f"{place}: audio={audio!r}: its path is no text")
    clean["utt_id"] = clean["utt_id"] or derived_id(path, clean["offset"], clean["duration"])
    return clean


def _code(name: str) -> str:
    """A language without its region: `en` of `en-US`."""
    return LOCALE.sub(r"\1", name).lower()


def _text(value: Any, name: str, place: str) -> str | None:
    if isinstance(value, list | tuple | Mapping):
        raise ValueError(f"{place}: {name}={value!r} is no text; write one {name} a row")
    return None if value is None else str(value)


def _number(value: Any, name: str, place: str, strict: bool) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if strict and not math.isfinite(number):
        raise ValueError(f"{place}: {name}={value!r} is not a number of seconds")
    return number
