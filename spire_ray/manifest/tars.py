"""Tars, read where they lie, to their true end.

`tarfile` takes a damaged header, a file that was cut off between two members and a tar behind another one for the end; so the
end is looked at. Source: POSIX ustar, two blocks of zeros.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from spire_ray.core import storage

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str
    part: str
    """`NAME.tar:START:SIZE`, its bytes as a path of audio names them."""
    read: Callable[[], bytes]
    """Its content, while it is the last one that was given."""


def members(uri: str, name: str = "") -> Iterator[Member]:
    """The files of an uncompressed tar in their order; `name` is what their parts call it.

    Raises ValueError for what is none, and at the end for one that was cut short or is followed by something else.
    """
    name = name or uri.rpartition("/")[2]
    with storage.open_file(uri) as raw:
        try:
            with tarfile.open(fileobj=raw, mode="r:") as tar:
                for member in tar:
                    if member.isfile():
                        yield Member(member.name, f"{name}:{member.offset_data}:{member.size}", partial(_content, tar, member))
                raw.seek(tar.offset)
                _check_end(raw.read, uri)
        except tarfile.TarError as error:
            raise ValueError(f"{uri}: not a plain tar file, or cut short: {error}") from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _check_end(read: Callable[[int], bytes], uri: str) -> None:
    rest = read(_CHUNK)
    if len(rest) < tarfile.BLOCKSIZE:
        raise ValueError(f"{uri}: cut short: a tar ends with blocks of zeros, this one without")
    while rest:
        if any(rest):
            raise ValueError(f"{uri}: something follows the end of the tar, or it is damaged there; tars are not joined by cat")
        rest = read(_CHUNK)
