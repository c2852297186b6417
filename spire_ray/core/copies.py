"""Copies on this node of what lies in a bucket, and folders that are written here and copied there."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spire_ray.core import storage


def localize(uri: str) -> str:
    """A local folder with the content of `uri`: itself if local, else a copy that the processes of this node share.

    A copy belongs to the sizes and tags that the files have now: what is written anew is copied anew, and what a copy lost is
    brought again. Raises FileNotFoundError for what is not there.
    """
    if storage.is_local(uri):
        return uri
    fs, path = storage.filesystem(uri)
    found = {name[len(path.rstrip("/")) + 1 :]: info for name, info in sorted(fs.find(path, detail=True).items())}
    if not found:
        raise FileNotFoundError(f"{uri}: not found")
    state = [f"{name} {info['size']} {info.get('ETag') or info.get('mtime')}" for name, info in found.items()]
    copy = Path(scratch("\n".join([uri, *state])))
    copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _holds(copy, found):
            shutil.rmtree(copy, ignore_errors=True)
            fs.get(path, str(copy), recursive=True)
            if not _holds(copy, found):
                raise OSError(f"{uri}: was written to while it was copied to {copy}; run this again")
    return str(copy)


def _holds(folder: Path, files: dict[str, Any]) -> bool:
    places = {folder / name: info["size"] for name, info in files.items()}
    return all(place.is_file() and place.stat().st_size == size for place, size in places.items())


@contextlib.contextmanager
def new_folder(uri: str) -> Iterator[str]:
    """A local folder to write to: the one at `uri`, or one that is copied there when the block ends well."""
    if storage.is_local(uri):
        yield uri
        return
    cache = Path(scratch(uri)).parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as folder:
        yield folder
        upload(folder, uri)


def upload(folder: str, uri: str) -> None:
    """Copy a local folder to a path or URI, links followed."""
    if storage.is_local(uri):
        shutil.copytree(folder, uri, dirs_exist_ok=True)
        return
    fs, path = storage.filesystem(uri)
    fs.put(folder.rstrip("/") + "/", path.rstrip("/") + "/", recursive=True)


def scratch(uri: str) -> str:
    """The folder on this node that belongs to a URI, below SPIRE_CACHE."""
    cache = Path(os.environ.get("SPIRE_CACHE", Path.home() / ".cache" / "spire"))
    return str(cache / hashlib.sha256(uri.encode()).hexdigest()[:16])
