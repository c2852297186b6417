"""A plain folder of audio files, with LibriSpeech's `*.trans.txt` (`id text` a line) or `clip.txt` beside `clip.wav`."""

from collections.abc import Iterator

from spire_ray.audio.media import is_audio
from spire_ray.core import storage
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.schema import Row


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of the folder and all below it; the id of a file without one is its path without the ending.

    Raises ValueError for a folder without audio.
    """
    uri = uri.rstrip("/")
    files = storage.walk(uri)
    audio = [file for file in files if is_audio(file.rpartition(".")[2]) and not file.rpartition("/")[2].startswith(".")]
    if not audio:
        raise ValueError(f"{uri}: holds no Parquet files and no audio files")
    listed = [storage.join(uri, file) for file in files if file.endswith(".trans.txt")]
    spoken = {name: text for file in listed for name, text in _transcripts(file)}
    there = set(files)
    for file in audio:
        stem = file.rpartition(".")[0]
        text = spoken.get(stem.rpartition("/")[2])
        if text is None and f"{stem}.txt" in there:
            text = storage.read_bytes(storage.join(uri, f"{stem}.txt")).decode("utf-8-sig").strip()
        yield storage.join(uri, file), {"utt_id": stem, "audio": file, "text": text}


def _transcripts(file: str) -> Iterator[tuple[str, str]]:
    for line in storage.read_bytes(file).decode("utf-8-sig").splitlines():
        name, _, text = line.partition(" ")
        yield name, text


FORMATS.register("folder", Format(storage.is_folder, rows, takes_the_rest=True))
