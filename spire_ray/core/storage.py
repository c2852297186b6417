"""Local paths and `s3://` through one set of calls (fsspec; s3fs for S3).

Credentials and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from spire_ray.core import web

if TYPE_CHECKING:
    import fsspec

HUB = "hf://datasets/"
"""Before the id of a data set of the Hugging Face Hub, which its own library streams, and no file system."""
_LARGEST_PUT = 5 << 30
"""Bytes that S3 takes in one request."""
_BRACES = re.compile(r"(?:\{|_OP_)(\d+)\.\.(\d+)(?:\}|_CL_)")
"""`_OP_0..63_CL_` is how NeMo writes braces."""
_NAMES = re.compile(r"\{([^{},]+(?:,[^{},]+)+)\}")
"""`corpora/{mls,voxpopuli}`."""


_ONCE = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}


def filesystem(uri: str, *, patient: bool = True) -> tuple["fsspec.AbstractFileSystem", str]:
    """The file system of a URI and the path in it. Listings are not cached: other processes write there too.

    s3fs asks 25 times for the content of an object, and botocore tries each five times, which on a server that never answers
    takes half an hour; where it is not `patient` botocore tries once.

    Raises ValueError for a bucket in a dry run.
    """
    import fsspec

    if not is_asked(uri):
        raise ValueError(f"{uri}: a dry run asks no network")
    options: dict[str, Any] = {"get_client": web.client} if uri.startswith(("http://", "https://")) else {}
    if uri.startswith("s3://") and not patient:
        options |= _ONCE
    filesystem, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **options)
    return filesystem, path


_asking: ContextVar[bool] = ContextVar("asking", default=True)


@contextlib.contextmanager
def unasked() -> Iterator[None]:
    """For a dry run: while the block runs no bucket is asked for anything. `exists` finds nothing there."""
    token = _asking.set(False)
    try:
        yield
    finally:
        _asking.reset(token)


def is_asked(uri: str) -> bool:
    """Whether it may be found out what lies at a place."""
    return is_local(uri) or (_asking.get() and not is_hub(uri))


def is_hub(uri: str) -> bool:
    """Whether this names a data set of the Hugging Face Hub."""
    return uri.startswith(HUB)


def is_local(uri: str) -> bool:
    """Whether a path has no scheme."""
    return "://" not in uri


def absolute(uri: str) -> str:
    """A path that means the same in every working directory."""
    return os.path.abspath(uri) if is_local(uri) else uri


def join(uri: str, *parts: str) -> str:
    """A path below `uri`."""
    return "/".join([uri.rstrip("/"), *parts])


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    if not is_asked(uri):
        return False
    if "*" in uri:
        fs, path = filesystem(uri)
        return bool(fs.glob(path))
    if is_local(uri):
        return os.path.exists(uri)
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def listing(uri: str) -> list[str]:
    """Names in a folder, sorted; empty if there is no such folder."""
    if is_local(uri):
        return sorted(os.listdir(uri)) if os.path.isdir(uri) else []
    fs, path = filesystem(uri)
    return sorted(name.rsplit("/", 1)[-1] for name in fs.ls(path, detail=False)) if fs.exists(path) else []


def alternatives(uri: str) -> list[str]:
    """The places that names in braces, `corpora/{mls,voxpopuli}`, stand for; else the URI itself."""
    if not (braces := _NAMES.search(uri)):
        return [uri]
    return [each for name in braces[1].split(",") for each in alternatives(uri[: braces.start()] + name + uri[braces.end() :])]


def expand(uri: str) -> list[str]:
    """What names in braces, a range of numbers (`{000..099}`) or a pattern with `*` stands for, in order; else the URI itself.

    Raises ValueError for a pattern that no file matches.
    """
    if len(several := alternatives(uri)) > 1:
        return [file for one in several for file in expand(one)]
    if braces := _BRACES.search(uri):
        first, last = braces.groups()
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [file for number in numbers for file in expand(uri[: braces.start()] + number + uri[braces.end() :])]
    if "*" not in uri:
        return [uri]
    fs, path = filesystem(uri)
    found = sorted(path if is_local(uri) else fs.unstrip_protocol(path) for path in fs.glob(path))
    if not found:
        raise ValueError(f"{uri}: no file matches")
    return found


def first(uri: str) -> str:
    """The first of several files or folders in braces; else the URI itself, a pattern included."""
    return _BRACES.sub(lambda braces: braces[1], alternatives(uri)[0])


def walk(uri: str) -> list[str]:
    """Every file below a folder, relative to it, sorted."""
    fs, path = filesystem(uri)
    return sorted(file[len(path.rstrip("/")) + 1 :] for file in fs.find(path))


def is_folder(uri: str) -> bool:
    """Whether there is a folder of this name."""
    fs, path = filesystem(uri)
    return bool(fs.isdir(path))


def version(uri: str) -> str:
    """What changes when a file is written anew: its size and its time or tag."""
    fs, path = filesystem(uri)
    info = fs.info(path)
    return f"{info['size']} {info.get('ETag') or info.get('mtime')}"


def open_file(uri: str, *, patient: bool = True) -> IO[bytes]:
    """A file to read from, with random access; see `filesystem`."""
    fs, path = filesystem(uri, patient=patient)
    file: IO[bytes] = fs.open(path, "rb")
    return file


def read_bytes(uri: str, start: int | None = None, end: int | None = None, *, patient: bool = True) -> bytes:
    """A whole file, or the bytes from `start` to `end`; see `filesystem`."""
    fs, path = filesystem(uri, patient=patient)
    return bytes(fs.cat_file(path, start=start, end=end))


def read_files(folder: str, names: Sequence[str]) -> list[bytes]:
    """Many small files of a folder; on S3 side by side."""
    if is_local(folder):
        return [Path(folder, name).read_bytes() for name in names]
    fs, path = filesystem(folder)
    found = fs.cat([join(path, name) for name in names]) if names else {}
    return [found[join(path, name)] for name in names]


def create(uri: str, data: bytes) -> bool:
    """Write a file that is not there yet; whether this call, and no other at the same time, has made it."""
    try:
        if is_local(uri):  # where fsspec looks first and writes then, so that two may do both
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            with Path(uri).open("xb") as file:
                file.write(data)
        else:
            fs, path = filesystem(uri)
            fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    return True


def delete(uri: str) -> None:
    """Remove a file, if it is there."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm_file(path)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all: temporary name and rename, or one PUT on S3."""
    if is_local(uri):
        target = Path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return
    fs, path = filesystem(uri)
    fs.pipe_file(path, data, chunksize=_LARGEST_PUT // 2)  # s3fs makes several parts of twice as much


@contextlib.contextmanager
def new_file(uri: str) -> Iterator[IO[bytes]]:
    """A large file to write to, which appears whole when the block ends well and not at all when it does not."""
    local = Path(uri) if is_local(uri) else None
    if local:
        local.parent.mkdir(parents=True, exist_ok=True)
    temporary = (local.parent if local else Path(tempfile.gettempdir())) / f".new-{uuid.uuid4().hex}"
    with temporary.open("xb") as file:  # not of `tempfile`, whose files are their owner's alone
        try:
            yield file
            file.close()
            if local:
                temporary.replace(local)
            else:
                fs, path = filesystem(uri)
                fs.put_file(str(temporary), path)
        finally:
            temporary.unlink(missing_ok=True)


def read_json(uri: str) -> Any:
    """A JSON file. Raises ValueError, with its name, for another one."""
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{uri}: not JSON: {error}") from None


def write_json(uri: str, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_bytes(uri, json.dumps(value, indent=2, ensure_ascii=False).encode())


def remove(uri: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if is_local(uri):
        shutil.rmtree(uri, ignore_errors=True)
        return
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def discard_uploads(uri: str) -> None:
    """End the uploads of large files below a folder on S3 that a killed process has left; their parts are paid for."""
    if is_local(uri):
        return
    fs, path = filesystem(uri)
    bucket, _, prefix = path.partition("/")
    with contextlib.suppress(PermissionError):  # who may not list them has to let the bucket's own rules do it
        for left in fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/").get("Uploads", []):
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=left["Key"], UploadId=left["UploadId"])
