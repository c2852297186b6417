"""WebDataset tars: members that share a key make a row. The audio stays in the tar; its path says which bytes it is."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby

from spire_ray.audio.media import is_audio
from spire_ray.audio.source import read
from spire_ray.core import storage
from spire_ray.manifest import tars
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.recording import check_whole
from spire_ray.manifest.schema import Row

_LARGEST_TAR = 1 << 30


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """A row for each key: fields of `KEY.json`, transcript of `KEY.txt`, audio. A key without audio has a null there.

    The id is `utt_id` or `id` of the JSON, else the key; a number, which every tar counts anew, with the name of the tar.
    """
    stem = uri.rpartition("/")[2].removesuffix(".tar")
    for key, members in groupby(filter(_is_own, tars.members(uri)), lambda member: _split(member.name)[0]):
        row: Row = {"audio": None}
        for member in members:
            ending = _split(member.name)[1].lower()
            if is_audio(ending):
                if row["audio"]:
                    raise ValueError(f"{uri}: {member.name}: a second file of audio of the key {key!r}; it needs its own")
                row["audio"] = member.part
            elif ending in ("json", "txt"):
                row |= _fields(ending, member.read(), f"{uri}: {member.name}")
        row["utt_id"] = row.get("utt_id") or row.get("id") or (f"{stem}/{key}" if key.isdigit() else key)
        yield f"{uri}: {key}", row


def write(uri: str, table_rows: Iterable[Row]) -> None:
    """`NAME.tar` → `NAME-000000.tar` and on, a gigabyte each. Raises ValueError for a row that is a part of a recording."""
    stem, number, writer = uri.removesuffix(".tar"), 0, _Tar()
    for count, row in enumerate(table_rows):
        check_whole(row, "a tar holds whole clips")
        audio = row.pop("audio") or {}
        path = audio.get("path") or ""
        ending = path.split(":")[0].rpartition(".")[2].lower()
        row["translations"] = dict(row["translations"] or ()) or None
        fields = {key: value for key, value in row.items() if value is not None}
        writer.add(f"{count:09d}.{ending if is_audio(ending) else 'wav'}", audio.get("bytes") or read(path))
        writer.add(f"{count:09d}.json", json.dumps(fields, ensure_ascii=False).encode())
        if writer.size > _LARGEST_TAR:
            storage.write_bytes(f"{stem}-{number:06d}.tar", writer.close())
            number, writer = number + 1, _Tar()
    if writer.size:
        storage.write_bytes(f"{stem}-{number:06d}.tar", writer.close())


class _Tar:
    """A tar in memory, the same bytes for the same content."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w")
        self.size = 0

    def add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))
        self.size += len(content)

    def close(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def _is_own(member: tars.Member) -> bool:
    """Not what macOS puts beside each file."""
    return not member.name.rpartition("/")[2].startswith("._")


def _split(name: str) -> tuple[str, str]:
    """Key and ending of a member: the base name is cut at its first dot."""
    folder, slash, base = name.rpartition("/")
    key, _, ending = base.partition(".")
    return folder + slash + key, ending


def _fields(ending: str, content: bytes, place: str) -> Row:
    try:
        if ending == "txt":
            return {"text": content.decode("utf-8-sig").strip()}
        fields = json.loads(content)
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8: {error.reason}, byte {error.object[error.start]:#x}") from None
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{place}: not an object of keys and values")
    return {key: value for key, value in fields.items() if key != "audio"}


FORMATS.register("webdataset", Format(lambda file: file.endswith(".tar"), rows, write))
