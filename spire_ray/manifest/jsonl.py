"""JSON lines: NeMo's manifests, and the plain reading and writing that other formats of JSON lines share."""

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from typing import IO

from spire_ray.core import storage
from spire_ray.manifest.schema import Row

_PATH = ("audio_filepath", "path", "file_name")
_LANGUAGE = ("source_lang", "lang")


def lines(uri: str) -> Iterator[tuple[str, Row]]:
    """(place, object) of every line, gzipped where the name ends so. Raises ValueError naming a line that is no object."""
    with storage.open_file(uri) as raw, gzip.open(raw) if uri.endswith(".gz") else raw as file:
        for number, line in enumerate(_text(uri, file), 1):  # type: ignore[arg-type]
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{uri}: line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{uri}: line {number}: not an object of keys and values")
            yield f"{uri}: line {number}", row


def _text(uri: str, file: IO[bytes]) -> Iterator[str]:
    try:
        yield from io.TextIOWrapper(file, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{uri}: not UTF-8: {error.reason}, byte {error.object[error.start]:#x}") from None


def write_lines(uri: str, rows: Iterable[Row]) -> None:
    """One object a line, gzipped where the name ends so, the same bytes every time."""
    with storage.new_file(uri) as raw:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if uri.endswith(".gz") else None
        for row in rows:
            (packed or raw).write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        if packed:
            packed.close()


def nemo(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of a NeMo manifest. Of a row with another `target_lang` (Canary) the text is a translation."""
    for place, line in lines(uri):
        row = dict(line)
        if "audio" not in row and (path := _first(row, _PATH)):
            row["audio"] = row[path]
        if "language" not in row and (language := _first(row, _LANGUAGE)):
            row["language"] = row[language]
        target = row.get("target_lang")
        if target and target != row.get("language"):
            row["translations"] = {target: row.pop("text", None)}
        yield place, row


def to_nemo(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows under NeMo's keys, absent values left out."""
    for row in rows:
        if not row["audio"] or not row["audio"].get("path"):
            raise ValueError(f"{row['utt_id']}: has no audio path, which a NeMo manifest needs")
        named = {
            **{key: row[key] for key in ("utt_id", "offset", "duration", "text", "corpus", "split", "speaker")},
            "audio_filepath": row["audio"]["path"],
            "source_lang": row["language"],
            "translations": dict(row["translations"] or ()) or None,
        }
        yield {key: value for key, value in named.items() if value is not None}


def _first(row: Row, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in row), None)
