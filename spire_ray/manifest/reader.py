"""Manifests from Parquet (Hugging Face audio columns) and JSONL (NeMo keys)."""

import hashlib
import io
import os
import posixpath
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.json

from spire_ray import storage
from spire_ray.manifest.schema import MANIFEST

_NEMO = {"audio_filepath": "path", "source_lang": "language", "lang": "language"}
_SHOWN = 5


def read(uri: str) -> pa.Table:
    """A manifest as a table of `schema.MANIFEST`; absent columns become null, relative audio paths are resolved.

    A row without `utt_id` gets a hash of its path as it is written, offset and duration. Raises ValueError, naming the
    rows, for duplicate ids and negative durations.
    """
    if not storage.exists(uri):
        raise ValueError(f"manifest={uri}: not there")
    table = _jsonl(uri) if uri.endswith((".jsonl", ".json")) else storage.read_parquet(uri)
    folder = uri.rsplit("/", 1)[0] if uri.rpartition("/")[1] else "."
    columns = {name: _column(table, field, folder) for name, field in zip(MANIFEST.names, MANIFEST, strict=True)}
    manifest = pa.table(columns, schema=MANIFEST)
    manifest = manifest.set_column(0, "utt_id", _ids(manifest, table))
    _check(manifest, uri)
    return manifest


def audio_source(audio: dict[str, Any] | None) -> bytes | str:
    """Bytes of a row's audio, else its path."""
    audio = audio or {}
    return bytes(audio["bytes"]) if audio.get("bytes") else audio.get("path") or ""


def _jsonl(uri: str) -> pa.Table:
    table = pyarrow.json.read_json(io.BytesIO(storage.read_bytes(uri)))
    table = table.rename_columns([_NEMO.get(name, name) for name in table.column_names])
    if "path" in table.column_names and "audio" not in table.column_names:
        path = table["path"].combine_chunks().cast(pa.string())
        empty = pa.nulls(len(path), pa.binary())
        table = table.append_column("audio", pa.StructArray.from_arrays([empty, path], fields=list(MANIFEST.field("audio").type)))
    return table


def _column(table: pa.Table, field: pa.Field, folder: str) -> pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    column = table[field.name].combine_chunks()
    if field.name == "translations" and pa.types.is_struct(column.type):  # JSON objects arrive as structs
        rows = [[(k, v) for k, v in (row or {}).items() if v is not None] for row in column.to_pylist()]
        return pa.array(rows, field.type)
    if field.name == "audio":
        return pa.array([_resolved(audio, folder) for audio in column.to_pylist()], field.type)
    return column.cast(field.type)


def _resolved(audio: dict[str, Any] | None, folder: str) -> dict[str, Any] | None:
    path = (audio or {}).get("path")
    if audio is None or not path or posixpath.isabs(path) or not storage.is_local(path):
        return audio
    joined = storage.join(folder, path)
    return {**audio, "path": os.path.abspath(joined) if storage.is_local(folder) else joined}


def _ids(manifest: pa.Table, table: pa.Table) -> pa.Array:
    given = manifest["utt_id"].to_pylist()
    if None not in given:
        return manifest["utt_id"]
    audio = table["audio"].to_pylist() if "audio" in table.column_names else [None] * len(given)
    rows = zip(given, audio, manifest["offset"].to_pylist(), manifest["duration"].to_pylist(), strict=True)
    return pa.array([utt_id or _hash(sound, offset, duration) for utt_id, sound, offset, duration in rows])


def _hash(audio: dict[str, Any] | None, offset: float | None, duration: float | None) -> str:
    key = f"{(audio or {}).get('path')}|{offset}|{duration}"
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _check(manifest: pa.Table, uri: str) -> None:
    ids = manifest["utt_id"].to_pylist()
    if repeated := [utt_id for utt_id, count in Counter(ids).items() if count > 1]:
        raise ValueError(f"manifest={uri}: utt_id not unique: {_some(repeated)}")
    durations = manifest["duration"].to_pylist()
    if negative := [i for i, seconds in zip(ids, durations, strict=True) if seconds is not None and seconds < 0]:
        raise ValueError(f"manifest={uri}: negative duration: {_some(negative)}")


def _some(rows: list[str]) -> str:
    return ", ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
