"""Where audio comes from: bytes, a local file, an object on S3, or a part of one such as a member of a tar."""

import errno
import io
import re
from pathlib import Path
from typing import IO

from spire_ray.core import access, storage, web

_PART = re.compile(r"(.+):(\d+):(\d+)")
"""`FILE:START:SIZE`, as fairseq and the tar reader of the manifests write it."""


UNREACHABLE = "unreachable"
"""The kind of reason that is no fault of a row."""
_PASSING = {
    errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.EREMOTEIO, errno.EBUSY,
    errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV,
}  # fmt: skip
_CREDENTIALS = {
    "RequestTimeTooSkewed", "RequestExpired", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "TokenRefreshRequired", "InvalidClientTokenId", "AuthorizationHeaderMalformed", "MissingSecurityHeader", "AccountProblem",
    "AllAccessDisabled", "NotSignedUp", "InvalidSecurity", "NoSuchBucket",
}  # fmt: skip
"""S3's codes for what no row has done: its clock, its keys, a bucket that is gone."""
_NETWORKS = ("botocore", "aiobotocore", "aiohttp", "urllib3", "requests", "httpx")


_PIECE = 1 << 22


class AudioError(ValueError):
    """Audio that cannot be used; the message is the reason its row is rejected with.

    What stands before the first colon is the kind of the reason, by which rejected rows are counted.
    """


class AudioTooLong(AudioError):
    """Audio longer than it may be."""


class Unreachable(AudioError):
    """Audio that the environment withholds: a mount, a network, a server. It may be there the next time."""

    def __init__(self, why: object) -> None:
        super().__init__(f"{UNREACHABLE}: {' '.join(str(why).split())}")


def opened(source: bytes | str, *, whole: bool = True) -> IO[bytes]:
    """An open file with random access.

    An object that is read as a whole is fetched by one request, otherwise by the ranges that are asked for. Raises AudioError
    for what is not there, no file, empty or not permitted, and Unreachable, which is one, where the storage cannot be reached.
    """
    if isinstance(source, bytes):
        return io.BytesIO(_filled(source))
    if not source:
        raise AudioError("no path and no bytes")
    source = access.local(source)
    part = _PART.fullmatch(source)
    if source.startswith("s3://") and not source[5:].strip("/").partition("/")[2]:
        raise AudioError("no such key")
    try:
        return _opened(source, part, whole)
    except AudioError:
        raise
    except Exception as error:
        raise _reason(error, source, part[1] if part else source) from None


def _opened(source: str, part: "re.Match[str] | None", whole: bool) -> IO[bytes]:
    """See `opened`; raises what the storage does."""
    if why := access.refusal(part[1] if part else source):
        raise AudioError(why)
    if part:
        return io.BytesIO(_filled(_part(part[1], int(part[2]), int(part[3]))))
    if storage.is_local(source):
        _check_local(source)
        return Path(source).open("rb")
    if whole:
        return io.BytesIO(_filled(_whole(source)))
    return storage.open_file(source, patient=False)


def _part(file: str, start: int, size: int) -> bytes:
    """Bytes of a file, such as a member of a tar."""
    _check_local(file)
    if storage.is_local(file) and (there := max(0, Path(file).stat().st_size - start)) < size:
        raise AudioError(f"truncated: {there} of {size} bytes of a part")
    if size > access.largest():
        raise AudioError(f"larger than {access.largest() / 1e9:g} GB")
    content = _some(file, start, size)
    if len(content) < size:
        raise AudioError(f"truncated: {len(content)} of {size} bytes of a part")
    return content


def _reason(error: Exception, source: str, place: str) -> Exception:
    """What an error of the storage says of a row, or of the environment; itself where it says neither."""
    if why := web.private(error):
        return AudioError(why)
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and not source.startswith("s3://"):
        return _reason(cause, source, place)  # whatever a web server says, or does not say, fsspec calls a file that is not there
    match error:
        case FileNotFoundError() | PermissionError():
            if code := _withheld_by(error, place):
                return Unreachable(code)
            return _missing(place) if isinstance(error, FileNotFoundError) else AudioError("no permission")
        case OSError():
            return withheld(error, source)
        case ValueError() | ImportError() | OverflowError():  # a scheme, a name that cannot be
            if source.startswith("s3://"):  # its region or its credentials, no fault of the row
                return error
            return AudioError(f"not a path of audio: {' '.join(str(error).split())}")
    if type(error).__module__.partition(".")[0] not in _NETWORKS:
        return error
    status = int(getattr(error, "status", 0) or 0)
    if status in (404, 410):
        return AudioError("no such file")
    if 400 <= status < 500 and status not in (408, 425, 429):
        return AudioError(f"refused by the server: {status}")
    return Unreachable(f"{type(error).__name__}: {error}")


def withheld(error: OSError, source: bytes | str = b"") -> AudioError:
    """What an error of reading is to a row: its own fault, or the environment's."""
    if (code := _code(error)) in _CREDENTIALS:
        return Unreachable(code)
    remote = isinstance(source, str) and not storage.is_local(source)
    if isinstance(error, IsADirectoryError):
        return AudioError("a folder, not a file")
    if error.errno in _PASSING or isinstance(error, TimeoutError | ConnectionError) or remote:
        return Unreachable(error.strerror or f"{type(error).__name__}: {error}")
    return AudioError(f"not readable: {' '.join(str(error).split())}")


def _some(source: str, start: int, size: int) -> bytes:
    if storage.is_local(source) or source.startswith("s3://"):
        return storage.read_bytes(source, start, start + size, patient=False)
    with storage.open_file(source) as file:  # a server that knows no ranges would send all of it
        file.seek(start)
        return _read(file, size)


def _read(file: IO[bytes], most: int) -> bytes:
    """So many bytes, or all: a stream gives what has come."""
    found = bytearray()
    while len(found) < most and (piece := file.read(min(_PIECE, most - len(found)))):
        found += piece
    return bytes(found)


def _whole(source: str) -> bytes:
    """All of an object, and never more than it may be large, whatever a server says of it."""
    most = access.largest()
    if source.startswith("s3://"):
        try:
            content = storage.read_bytes(source, 0, most + 1, patient=False)  # one request
        except OSError as error:
            if _code(error) not in ("InvalidRange", "416"):
                raise
            content = b""  # an empty object has no first byte
    else:
        with storage.open_file(source) as file:
            content = _read(file, most + 1)
    if len(content) > most:
        raise AudioError(f"larger than {most / 1e9:g} GB")
    return content


def _withheld_by(error: BaseException, source: str) -> str:
    """S3's code where it is the environment's fault that nothing can be read; else empty.

    The answer to a HEAD has no code but a number, so that one byte is asked for.
    """
    if not source.startswith("s3://"):
        return ""
    code = _code(error)
    if not code or code.isdecimal():
        try:
            storage.read_bytes(source, 0, 1, patient=False)
        except Exception as found:  # whatever it is, its code tells
            code = _code(found)
    return code if code in _CREDENTIALS else ""


def _code(error: BaseException | None) -> str:
    """What S3 has answered, however deep below an error."""
    while error is not None:
        if code := (getattr(error, "response", None) or {}).get("Error", {}).get("Code"):
            return str(code)
        error = error.__cause__ or error.__context__
    return ""


def _missing(source: str) -> AudioError:
    """A file that is not there; where its whole folder is not, a mount is missing."""
    if not storage.is_local(source):
        return AudioError("no such key" if source.startswith("s3://") else "no such file")
    folder = Path(source).parent
    return AudioError("no such file") if folder.is_dir() else Unreachable(f"no such file, nor its folder {folder}")


def is_part(source: str) -> bool:
    """Whether a path names a part of a file."""
    return _PART.fullmatch(source) is not None


def read(source: bytes | str) -> bytes:
    """All bytes of a source. Raises AudioError as `opened` does."""
    with opened(source) as file:
        return file.read()


def _check_local(source: str) -> None:
    if not storage.is_local(source):
        return
    path = Path(source)
    if path.is_symlink() and not path.exists():
        raise AudioError("dangling link")
    if path.is_dir():
        raise AudioError("a folder, not a file")
    if path.exists() and not path.is_file():
        raise AudioError("a device or pipe, not a file")
    if path.stat().st_size == 0:
        raise AudioError("empty file")


def _filled(content: bytes) -> bytes:
    if not content:
        raise AudioError("empty file")
    return content
