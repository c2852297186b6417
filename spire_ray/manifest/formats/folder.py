"""A plain folder of audio files, with LibriSpeech's `*.trans.txt` (`id text` a line) or `clip.txt` beside `clip.wav`."""

from collections.abc import Iterator

from spire_ray.audio.media import is_audio
from spire_ray.core import storage
from spire_ray.manifest import jsonl
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
    spoken = dict(said for file in files if file.endswith(".trans.txt") for said in _transcripts(uri, file))
    there = set(files)
    for file in audio:
        stem = file.rpartition(".")[0]
        text = spoken.get(stem)
        if text is None and f"{stem}.txt" in there:
            text = "".join(jsonl.text(storage.join(uri, f"{stem}.txt"))).strip()
        yield storage.join(uri, file), {"utt_id": stem, "audio": file, "text": text}


def _transcripts(uri: str, file: str) -> Iterator[tuple[str, str]]:
    """Path without ending, and text, of what a list tells of the clips beside it: other folders may have clips of its names."""
    folder, slash, _ = file.rpartition("/")
    for line in jsonl.text(storage.join(uri, file)):
        if parts := line.split(maxsplit=1):
            yield f"{folder}{slash}{parts[0]}", "".join(parts[1:]).strip()


FORMATS.register("folder", Format(storage.is_folder, rows, takes_the_rest=True))
