"""Formats of manifests, by name: one module each, ours in this package, others in plugins.

A format says which files or folders are its own, and reads their rows one by one; Parquet alone is read in place, by runs of
rows (`spire_ray.manifest.parquet`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from spire_ray.core import storage
from spire_ray.core.registry import Registry
from spire_ray.manifest.schema import Row

Place = str
"""Where a row stands, for messages: `FILE: line 3`."""


@dataclass(frozen=True)
class Format:
    """One format."""

    recognizes: Callable[[str], bool]
    """Whether a file or folder, which is there, is of this format."""
    rows: Callable[[str], Iterator[tuple[Place, Row]]]
    """Its rows: columns of the manifest under their names, `audio` a path, which may be relative to the file's folder, or a
    mapping of `bytes` and `path`. Columns of other names may be mapped by the user."""
    write: Callable[[str, Iterable[Row]], None] | None = None
    """Write rows, for a format that can be made."""
    takes_the_rest: bool = False
    """Whether it is asked after the others, because it knows its files by less than they do."""


FORMATS: Registry[Format] = Registry("format", "spire_ray.manifest.formats")


def of(file: str) -> Format:
    """The format of a file or folder. Raises ValueError for one that is of none."""
    if storage.is_hub(file):  # of which no other has to be asked
        return FORMATS["hub"]
    known = sorted((FORMATS[name] for name in FORMATS), key=lambda format: format.takes_the_rest)
    found = next((format for format in known if format.recognizes(file)), None)
    if found is None:
        raise ValueError(f"manifest={file}: of no format that is known: {', '.join(['parquet', *FORMATS])}")
    return found


def writable() -> list[str]:
    """Names of the formats that can be written."""
    return ["parquet", *(name for name in FORMATS if FORMATS[name].write)]
