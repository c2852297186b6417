"""The rows of a test set: of units that the stage label made, or of any manifest."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray.core import storage, tables
from spire_ray.manifest import formats, reader, recording
from spire_ray.manifest.schema import EVERY_SPLIT, LABELLED, UNITS, in_split
from spire_ray.settings import GenerationSettings
from spire_ray.text.languages import find, language

_READ = ("utt_id", "language", "text", "translations", "split", "corpus", "speaker", "duration", "units", "durations", "status")


class Recording(NamedTuple):
    """Where the audio of a row is."""

    source: bytes | str
    offset: float
    duration: float | None


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
    audio: Recording | None = None
    """None where no system hears it."""
    shots: tuple[tuple[str, str], ...] = ()
    """Texts and translations of other rows, for models that continue text."""
    tokens: tuple[str, ...] = ()
    tags: str = ""
    """A tag for each token, one space between them, as a corpus of named entities has them."""
    draft: str = ""
    """A translation that is to be corrected."""
    corpus: str = ""
    speaker: str = ""
    duration: float = 0.0
    frames: int = 0

    def has(self, name: str) -> bool:
        """Whether it has a field."""
        value = getattr(self, name)
        return bool(value.strip()) if isinstance(value, str) else value is not None and len(value) > 0

    def with_another(self) -> "Row":
        """The row with the speech of the one after it."""
        return replace(self, units=self.another)


def rows(settings: GenerationSettings, *, audio: bool = False, extra: bool = False) -> list[Row]:
    """The rows of the split in the order of their ids; those that labelling rejected are left out.

    `audio` says where that of each is, `extra` reads what a corpus says of them beside the columns of a manifest.

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
    heard = _recordings(settings, {row["utt_id"] for row in found}) if audio else {}
    beside = _extra(settings.data) if extra else {}
    made = [_row(row | beside.get(row["utt_id"], {}), settings.source_language, target, heard) for row in found]
    spoken = [row.units for row in made if row.units is not None]
    following = iter([*spoken[1:], *spoken[:1]] if len(spoken) > 1 else [None] * len(spoken))
    made = [row if row.units is None else replace(row, another=next(following)) for row in made]
    return list(_with_shots(made, settings))


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


def _recordings(settings: GenerationSettings, wanted: set[str]) -> dict[str, Recording]:
    """The audio of rows: of the manifest, or of the one that the units were made of."""
    if not settings.audio and has_units(settings.data):
        raise ValueError(f"audio: {settings.data} holds units alone; name the manifest that they were made of")
    found = {}
    for table in reader.stream(settings.audio or settings.data, settings.columns):
        for row in table.select(["utt_id", "audio", "offset", "duration"]).to_pylist():
            if row["utt_id"] in wanted and (source := recording.source(row["audio"])):
                found[row["utt_id"]] = Recording(source, *recording.part(row))
    return found


def _extra(data: str) -> dict[str, dict[str, Any]]:
    """`extra` of rows by their ids, of Parquet files and of tables in other formats; as an object, or as JSON."""
    found = {}
    for file in reader.files(data):
        if reader.is_parquet(file):
            there = "extra" in _columns(file)
            given: Iterator[dict[str, Any]] = iter(tables.read(file, ["utt_id", "extra"]).to_pylist() if there else ())
        else:
            given = (row for _, row in formats.of(file).rows(file))
        for row in given:
            said = row.get("extra") or {}
            found[row["utt_id"]] = json.loads(said) if isinstance(said, str) else dict(said)
    return found


def _with_shots(made: list[Row], settings: GenerationSettings) -> Iterator[Row]:
    """Rows with their examples: drawn anew for each, with replacement, as SpireLM draws them."""
    shots = settings.shots
    if not shots.number:
        yield from made
        return
    given = replace(settings, data=shots.data or settings.data, split=shots.split, utterances=0, shots=replace(shots, number=0))
    pairs = [(row.text, row.translation) for row in rows(given) if row.text and row.translation]
    if not pairs:
        raise ValueError(f"shots.split={shots.split}: {given.data} has no texts with translations there")
    draw = random.Random(shots.seed)
    for row in made:
        yield replace(row, shots=tuple(draw.choice(pairs) for _ in range(shots.number)))


def _row(row: dict[str, Any], source: str, target: str, heard: dict[str, Recording]) -> Row:
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
        translation=_translation(told, target),
        units=None if units is None else np.asarray(units, np.uint16),
        audio=heard.get(row["utt_id"]),
        tokens=tuple(row.get("tokens") or ()),
        tags=" ".join(row.get("tags") or ()),
        draft=(row.get("mt") or "").strip(),
        corpus=row["corpus"] or "",
        speaker=row["speaker"] or "",
        duration=row["duration"] or 0.0,
        frames=int(sum(row.get("durations") or ())),
    )


def _translation(translations: dict[str, str], target: str) -> str:
    """The one into a language, which a manifest may call `zh`, `zh-CN` or `Chinese`."""
    named = [code for code in translations if (known := find(code)) and known.code == target]
    return (translations[target if target in named else named[0]] or "").strip() if named else ""
