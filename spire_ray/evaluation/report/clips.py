"""The speech behind the rows of a report, as small files inside its page."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spire_ray.audio import decode, inline
from spire_ray.audio.source import AudioError
from spire_ray.core import access, storage
from spire_ray.core.provenance import RUN_FILE
from spire_ray.evaluation import test_set
from spire_ray.manifest import reader, recording

_LONGEST = 60.0
"""Seconds of a clip that goes into the page."""


@dataclass(frozen=True)
class Source:
    """Where the speech of an evaluation is."""

    manifest: str = ""
    """That it heard, or that its units were made of; empty where nothing says it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    storage: Mapping[str, Any] = field(default_factory=dict)
    """What its rows may name."""


def source(folder: str) -> Source:
    """From the records of the evaluation and of what it was made of."""
    place = storage.join(folder, RUN_FILE)
    said = storage.read_json(place)["resolved"] if storage.exists(place) else {}
    if answers := said.get("hypotheses"):
        return source(answers)
    made = said.get("audio") or said.get("data") or said.get("manifest") or ""
    if made and test_set.has_units(made):
        return source(made)
    return Source(made, said.get("columns") or {}, said.get("storage") or {})


def heard(rows: Mapping[str, set[str]]) -> dict[tuple[str, str], str]:
    """Some ids by folder of an evaluation → (folder, utt_id) → data URI of an Ogg file, as far as their speech can be had.

    Only what the evaluation itself was allowed to read is read. A line says why none of a folder is heard.
    """
    found: dict[tuple[str, str], str] = {}
    for folder, ids in rows.items():
        try:
            given = source(folder)
            with access.under(given.storage):
                if given.manifest and storage.exists(storage.first(given.manifest)):
                    found |= {(folder, utt_id): made for utt_id, made in _of(given.manifest, given.columns, ids)}
        except Exception as error:  # of any library below fsspec: a report does without its clips
            print(f"  {folder}: its speech is not to be had: {type(error).__name__}: {' '.join(str(error).split())}")
    return found


def _of(uri: str, columns: Mapping[str, str], wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(utt_id, data URI of an Ogg file) of the rows that are wanted, but for those that cannot be heard or are too long."""
    missing = set(wanted)
    for table in reader.stream(uri, dict(columns)):
        for row in table.select(["utt_id", "audio", "offset", "duration"]).to_pylist():
            if row["utt_id"] not in missing:
                continue
            missing.remove(row["utt_id"])
            try:
                samples = decode.load(recording.source(row["audio"]), *recording.part(row), max_seconds=_LONGEST)
            except (AudioError, OSError):
                continue
            yield row["utt_id"], inline.ogg(samples)
        if not missing:
            return
