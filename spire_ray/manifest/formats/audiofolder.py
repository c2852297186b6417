"""Hugging Face's AudioFolder: audio files, and beside them `metadata.jsonl` or `metadata.csv` with `file_name`.

The lists may lie in folders below, such as `train/`, which then name the split of their rows.
"""

from collections.abc import Iterable, Iterator

from spire_ray.audio.media import is_audio
from spire_ray.audio.source import read
from spire_ray.core import storage
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format, table
from spire_ray.manifest.recording import check_whole
from spire_ray.manifest.schema import Row

_LISTS = ("metadata.jsonl", "metadata.csv")
_SPLITS = {"validation": "dev", "valid": "dev", "val": "dev", "training": "train", "testing": "test", "eval": "test"}


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of every list in the folder; `file_name` counts from the list on."""
    for listed in _lists(uri):
        place = storage.join(uri, listed)
        folder = listed.rpartition("/")[0]
        split = folder.partition("/")[0] or None
        for where, row in jsonl.lines(place) if listed.endswith(".jsonl") else table.lines(place):
            if "file_name" not in row:
                raise ValueError(f"{where}: no column 'file_name'; there are {', '.join(row)}")
            path = "/".join(part for part in (folder, str(row["file_name"])) if part)
            named = {"split": _SPLITS.get(split, split) if split else None, **row}
            yield where, {**named, "audio": path}


def write(uri: str, table_rows: Iterable[Row]) -> None:
    """Audio files in their own encoding and `metadata.jsonl`. Raises ValueError for a row that is a part of a recording."""

    def described() -> Iterator[Row]:
        for number, row in enumerate(table_rows):
            check_whole(row, "a folder holds whole clips")
            audio = row.pop("audio") or {}
            path = audio.get("path") or ""
            ending = path.split(":")[0].rpartition(".")[2].lower()
            name = f"{number:09d}.{ending if is_audio(ending) else 'wav'}"
            storage.write_bytes(storage.join(uri, name), audio.get("bytes") or read(path))
            row["translations"] = dict(row["translations"] or ()) or None
            yield {"file_name": name, **{key: value for key, value in row.items() if value is not None}}

    jsonl.write_lines(storage.join(uri, _LISTS[0]), described())


def recognizes(file: str) -> bool:
    """A folder with such a list in it or in a folder of it."""
    return storage.is_folder(file) and bool(_lists(file))


def _lists(uri: str) -> list[str]:
    here = storage.listing(uri)
    if found := [name for name in _LISTS if name in here]:
        return found[:1]
    below = {folder: storage.listing(storage.join(uri, folder)) for folder in here if "." not in folder}
    return [f"{folder}/{name}" for folder, names in below.items() for name in [n for n in _LISTS if n in names][:1]]


FORMATS.register("audiofolder", Format(recognizes, rows, write))
