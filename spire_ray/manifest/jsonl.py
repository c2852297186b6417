"""Text files line by line, and JSON lines, as several formats of manifests have them; gzipped where the name ends so."""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator

from spire_ray.core import storage
from spire_ray.manifest.schema import Row


def lines(uri: str) -> Iterator[tuple[str, Row]]:
    """(place, object) of every line. Raises ValueError naming a line that is no object."""
    for number, line in enumerate(text(uri), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{uri}: line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{uri}: line {number}: not an object of keys and values")
        yield f"{uri}: line {number}", row


def text(uri: str, newline: str | None = None) -> Iterator[str]:
    """Lines of UTF-8, with or without a byte order mark. Raises ValueError for other bytes and half a gzip file.

    A line ends at a line feed, a carriage return or both, and at no other character that Unicode calls a break.
    """
    try:
        with storage.open_file(uri) as raw, gzip.open(raw) if uri.endswith(".gz") else raw as file:
            yield from io.TextIOWrapper(file, "utf-8-sig", newline=newline)  # type: ignore[arg-type]
    except UnicodeDecodeError as error:
        raise ValueError(f"{uri}: not UTF-8: {error.reason}, byte {error.object[error.start]:#x}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{uri}: a truncated or damaged gzip file: {error}") from None


def write_lines(uri: str, rows: Iterable[Row]) -> None:
    """One object a line, gzipped where the name ends so, the same bytes every time."""
    with storage.new_file(uri) as raw:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if uri.endswith(".gz") else None
        for row in rows:
            (packed or raw).write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        if packed:
            packed.close()


def is_lines(file: str) -> bool:
    """Whether a file is JSON lines by its name."""
    return file.removesuffix(".gz").endswith((".jsonl", ".json", ".ndjson"))


def first(file: str) -> Row:
    """The first object of a file; empty where there is none."""
    return next(lines(file), ("", {}))[1]
