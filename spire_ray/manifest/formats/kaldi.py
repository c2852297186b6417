"""Kaldi's data folders: `wav.scp`, and where they are there `segments`, `text`, `utt2spk`, `utt2lang` and `utt2dur`.

Source: Kaldi's "Data preparation". What a pipe in `wav.scp` would make is refused: write it to files first.
"""

from collections.abc import Callable, Iterator

from spire_ray.core import storage
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.schema import Row

_WAVS = "wav.scp"


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """One row a segment, or a recording where there are none. Raises ValueError for pipes and for what is not in `wav.scp`."""
    wavs = _table(storage.join(uri, _WAVS), _wavs)
    columns = {"text": "text", "speaker": "utt2spk", "language": "utt2lang", "duration": "utt2dur"}
    told = {column: _table(storage.join(uri, name), _pairs) for column, name in columns.items()}

    def row(utt_id: str, recording: str, **more: float) -> Row:
        named = {column: values.get(utt_id) for column, values in told.items()}
        return {**named, "utt_id": utt_id, "audio": wavs[recording], **more}

    segments = storage.join(uri, "segments")
    if not storage.exists(segments):
        for name in wavs:
            yield f"{uri}/{_WAVS}: {name}", row(name, name)
        return
    for name, value in _pairs(segments):
        place, parts = f"{segments}: {name}", value.split()
        try:
            recording, begin, end = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError):
            raise ValueError(f"{place}: expected `utterance recording begin end`, found {value!r}") from None
        if recording not in wavs:
            raise ValueError(f"{place}: recording {recording!r} is not in {_WAVS}")
        channel = f"#channel={parts[3]}" if len(parts) > 3 and parts[3].isdigit() else ""
        ends = {} if end < 0 else {"duration": round(end - begin, 6)}  # -1 stands for the end of the recording
        found = row(name, recording, offset=begin, **ends)
        yield place, {**found, "audio": f"{found['audio']}{channel}"}


def recognizes(file: str) -> bool:
    """A folder with `wav.scp`."""
    return storage.is_folder(file) and _WAVS in storage.listing(file)


def _wavs(uri: str) -> Iterator[tuple[str, str]]:
    for name, value in _pairs(uri):
        if value.endswith("|") or value.startswith("|"):
            raise ValueError(f"{uri}: {name}: a pipe, {value!r}, is not run; write its audio to a file first")
        if (path := value.rpartition(":"))[2].isdigit() and path[0].endswith(".ark"):
            raise ValueError(f"{uri}: {name}: audio in an ark, {value!r}, is not read; write it to a file first")
        yield name, value


def _table(uri: str, read: Callable[[str], Iterator[tuple[str, str]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in read(uri):
        if found.setdefault(name, value) != value:
            raise ValueError(f"{uri}: {name}: twice, as {found[name]!r} and as {value!r}")
    return found


def _pairs(uri: str) -> Iterator[tuple[str, str]]:
    if not storage.exists(uri):
        return
    for line in jsonl.text(uri):
        name, *value = line.split(maxsplit=1) or [""]
        if name:
            yield name, "".join(value).strip()


FORMATS.register("kaldi", Format(recognizes, rows))
