"""A plain folder of audio files, with transcripts as people keep them.

Read are `metadata.jsonl` and `metadata.csv` (Hugging Face's audio folder: `file_name` and any columns), else LibriSpeech's
`*.trans.txt` (`id text` a line) and `clip.txt` beside `clip.wav`.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from spire_ray.audio.source import read
from spire_ray.core import storage
from spire_ray.manifest.jsonl import nemo, write_lines
from spire_ray.manifest.recording import check_whole
from spire_ray.manifest.schema import Row
from spire_ray.manifest.webdataset import AUDIO_ENDINGS


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of the folder and all below it; the id of a file without one is its path without the ending.

    Raises ValueError for a folder without audio.
    """
    uri = uri.rstrip("/")
    for name, read_listed in (("metadata.jsonl", nemo), ("metadata.csv", _csv)):
        if storage.exists(storage.join(uri, name)):
            yield from read_listed(storage.join(uri, name))
            return
    files = storage.walk(uri)
    audio = [file for file in files if file.rpartition(".")[2].lower() in AUDIO_ENDINGS]
    if not audio:
        raise ValueError(f"{uri}: holds no Parquet files and no audio files")
    listed = [storage.join(uri, file) for file in files if file.endswith(".trans.txt")]
    spoken = {name: text for file in listed for name, text in _transcripts(file)}
    there = set(files)
    for file in audio:
        stem = file.rpartition(".")[0]
        text = spoken.get(stem.rpartition("/")[2])
        if text is None and f"{stem}.txt" in there:
            text = storage.read_bytes(storage.join(uri, f"{stem}.txt")).decode().strip()
        yield storage.join(uri, file), {"utt_id": stem, "audio": file, "text": text}


def write(uri: str, table_rows: Iterable[Row]) -> None:
    """Audio files in their own encoding and `metadata.jsonl`. Raises ValueError for a row that is a part of a recording."""

    def described() -> Iterator[Row]:
        for number, row in enumerate(table_rows):
            check_whole(row, "a folder holds whole clips")
            audio = row.pop("audio") or {}
            path = audio.get("path") or ""
            ending = path.split(":")[0].rpartition(".")[2].lower()
            name = f"{number:09d}.{ending if ending in AUDIO_ENDINGS else 'wav'}"
            storage.write_bytes(storage.join(uri, name), audio.get("bytes") or read(path))
            row["translations"] = dict(row["translations"] or ()) or None
            yield {"file_name": name, **{key: value for key, value in row.items() if value is not None}}

    write_lines(storage.join(uri, "metadata.jsonl"), described())


def _transcripts(file: str) -> Iterator[tuple[str, str]]:
    for line in storage.read_bytes(file).decode().splitlines():
        name, _, text = line.partition(" ")
        yield name, text


def _csv(uri: str) -> Iterator[tuple[str, Row]]:
    with storage.open_file(uri) as file:
        for number, row in enumerate(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")), 2):
            if "file_name" not in row:
                raise ValueError(f"{uri}: no column 'file_name'; there are {', '.join(row)}")
            yield f"{uri}: line {number}", {**row, "audio": row["file_name"]}
