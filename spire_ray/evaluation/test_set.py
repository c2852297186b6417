"""The rows of a test set: of units that the stage label made, or of any manifest."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray.core import storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.schema import EVERY_SPLIT, LABELLED, UNITS, in_split
from spire_ray.settings import GenerationSettings
from spire_ray.text.languages import language

_READ = ("utt_id", "language", "text", "translations", "split", "speaker", "duration", "units", "durations", "status")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row; texts that it lacks are empty."""

    utt_id: str
    language: str
    """ISO 639-1 code of the text."""
    text: str = ""
    translation: str = ""
    units: np.ndarray | None = None
    """uint16 [n]; None for a row without speech."""
    another: np.ndarray | None = None
    """Units of the row after it, for controls."""
    speaker: str = ""
    duration: float = 0.0
    frames: int = 0

    def has(self, name: str) -> bool:
        """Whether it has a field."""
        value = getattr(self, name)
        return bool(value.strip()) if isinstance(value, str) else value is not None and len(value) > 0


def rows(settings: GenerationSettings) -> list[Row]:
    """The rows of the split in the order of their ids; those that labelling rejected are left out.

    Raises ValueError, naming the rows, for a split without rows, for rows whose language is unknown or not said, and for ids that
    occur twice.
    """
    target, read = language(settings.target_language).code, _read(settings)
    found = sorted((row for row in read if in_split(row["split"], settings.split)), key=lambda row: str(row["utt_id"]))
    found = found[: settings.utterances or None]
    if not found:
        every = "" if settings.split == EVERY_SPLIT else f"; split={EVERY_SPLIT} takes every row"
        raise ValueError(f"split={settings.split}: {settings.data} has no rows of it that can be asked about{every}")
    if twice := [utt_id for utt_id, count in Counter(row["utt_id"] for row in found).items() if count > 1]:
        raise ValueError(f"data={settings.data}: utt_id not unique: {', '.join(twice[:5])}")
    made = [_row(row, settings.source_language, target) for row in found]
    spoken = [row.units for row in made if row.units is not None]
    following = iter([*spoken[1:], *spoken[:1]] if len(spoken) > 1 else [None] * len(spoken))
    return [row if row.units is None else replace(row, another=next(following)) for row in made]


def has_units(data: str) -> bool:
    """Whether a test set holds speech as units."""
    return "units" in _columns(data)


def _columns(data: str) -> list[str]:
    """Columns of Parquet files; none of a manifest of another format."""
    names = [name for name in storage.listing(data) if name.startswith("part-") and name.endswith(".parquet")]
    if not names and not (data.endswith(".parquet") and storage.exists(data)):
        return []
    fs, path = storage.filesystem(storage.join(data, names[0]) if names else data)
    return list(pq.read_schema(path, filesystem=fs).names)


def _read(settings: GenerationSettings) -> Iterable[dict[str, Any]]:
    there = _columns(settings.data)
    if "units" in there:
        wanted = {} if settings.split == EVERY_SPLIT else {"split": settings.split}
        wanted |= {"status": LABELLED} if "status" in there else {}
        filters = [(name, "=", value) for name, value in wanted.items()]
        table = tables.read(settings.data, [name for name in _READ if name in there], filters or None)
        for name in _READ:
            if name not in there:
                table = table.append_column(name, pa.nulls(len(table), UNITS.field(name).type))
        return list(table.to_pylist())
    columns = [name for name in _READ if name not in ("units", "durations", "status")]
    return (row for table in reader.stream(settings.data, settings.columns) for row in table.select(columns).to_pylist())


def _row(row: dict[str, Any], source: str, target: str) -> Row:
    named = row["language"] or source
    if not named:
        raise ValueError(f"source_language: row {row['utt_id']} names no language; say which it is")
    try:
        code = language(named).code
    except ValueError as error:
        raise ValueError(f"row {row['utt_id']}: {error}") from None
    units = row.get("units")
    told = dict(row["translations"] or ()) if code != target else {}  # none is asked for into the language of the row itself
    return Row(
        utt_id=row["utt_id"],
        language=code,
        text=(row["text"] or "").strip(),
        translation=(told.get(target) or "").strip(),
        units=None if units is None else np.asarray(units, np.uint16),
        speaker=row["speaker"] or "",
        duration=row["duration"] or 0.0,
        frames=int(sum(row.get("durations") or ())),
    )
