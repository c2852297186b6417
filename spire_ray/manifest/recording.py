"""Where the audio of a row is: which bytes or file, and which part of it."""

from typing import Any

from spire_ray.audio import effects, probe
from spire_ray.audio.decode import ROUNDED_SECONDS
from spire_ray.audio.source import is_part
from spire_ray.manifest.schema import Row


def source(audio: dict[str, Any] | None) -> bytes | str:
    """Bytes of a row's audio, else its path."""
    audio = audio or {}
    return bytes(audio["bytes"]) if audio.get("bytes") is not None else audio.get("path") or ""


def folder(audio: dict[str, Any] | None) -> str:
    """Where the file of a row's audio lies; empty where it is in the row."""
    found = source(audio)
    return "" if isinstance(found, bytes) else found.rpartition("/")[0]


def part(row: Row) -> tuple[float, float | None]:
    """Where a row begins in its recording and how long it is, in seconds; without `offset` it is the whole of it."""
    return (0.0, None) if row.get("offset") is None else (row["offset"], row.get("duration"))


def seconds(row: Row) -> float:
    """How long a row is: as it says, or as its file does. Raises AudioError for a file that cannot be opened."""
    if row["duration"] is not None:
        return float(row["duration"])
    return probe.probe(source(row["audio"])).seconds - (row["offset"] or 0.0)


def check_whole(row: Row, needs: str) -> None:
    """Raise ValueError for a row that is a part of a recording, where a manifest `needs` whole clips."""
    if (path := (row["audio"] or {}).get("path") or "") and effects.split(path)[1] != effects.NONE:
        raise ValueError(f"{row['utt_id']}: {path} has effects; {needs}")
    offset, length = part(row)
    if offset or (length is not None and length < probe.probe(source(row["audio"])).seconds - ROUNDED_SECONDS):
        raise ValueError(f"{row['utt_id']}: begins at {offset:g} s of a recording and is a part of it; {needs}")


def check_file(row: Row, needs: str) -> str:
    """The path of a row's audio. Raises ValueError where it is no file of its own, which a manifest `needs`."""
    audio = row["audio"] or {}
    path = audio.get("path") or ""
    if audio.get("bytes") is not None or not path or is_part(path) or effects.split(path)[1] != effects.NONE:
        what = "bytes" if audio.get("bytes") is not None else path or "nothing"
        raise ValueError(f"{row['utt_id']}: its audio is {what}, no file as {needs} needs; --to audiofolder writes files")
    return str(path)
