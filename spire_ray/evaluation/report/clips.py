"""The speech behind the rows of a report, as small files inside its page."""

from collections.abc import Iterable, Iterator, Mapping

from spire_ray.audio import decode, inline
from spire_ray.audio.source import AudioError
from spire_ray.core import storage
from spire_ray.core.provenance import RUN_FILE
from spire_ray.evaluation import test_set
from spire_ray.manifest import reader, recording

_LONGEST = 60.0
"""Seconds of a clip that goes into the page."""


def manifest(folder: str) -> tuple[str, Mapping[str, str]]:
    """The manifest that an evaluation heard, or that its units were made of, and its columns; empty where nothing says it."""
    place = storage.join(folder, RUN_FILE)
    said = storage.read_json(place)["resolved"] if storage.exists(place) else {}
    if answers := said.get("hypotheses"):
        return manifest(answers)
    source = said.get("audio") or said.get("data") or said.get("manifest") or ""
    if source and test_set.has_units(source):
        return manifest(source)
    return source, said.get("columns") or {}


def heard(rows: Mapping[str, set[str]]) -> dict[tuple[str, str], str]:
    """Some ids by folder of an evaluation → (folder, utt_id) → data URI of an Ogg file, as far as their speech can be had."""
    found: dict[tuple[str, str], str] = {}
    for folder, ids in rows.items():
        source, columns = manifest(folder)
        if source and storage.exists(storage.first(source)):
            found |= {(folder, utt_id): made for utt_id, made in _of(source, columns, ids)}
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
