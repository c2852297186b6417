"""Where checkpoints are kept: a folder that all workers see, or a URL, to which they are copied in the background.

One authority: every start takes the newest complete one whose files are all whole, and passes others with a line.
"""

import re
import shutil
import threading
from pathlib import Path
from typing import Any, Protocol

from spire_ray.core import copies, storage
from spire_ray.training.checkpoints.record import COMPLETE_FILE, complete, integrity_error, name

_STEP = re.compile(r"step-\d{8}")


class Place(Protocol):
    """The checkpoints of one training. `newest`, `steps` and `prune` are the same everywhere."""

    uri: str
    folder: str
    """The folder on this machine where workers write and read: the place itself, or a copy of it."""

    def damage(self, step: str, record: dict[str, Any]) -> str | None:
        """Why a marked checkpoint cannot be used, without bringing it here; None where nothing is seen."""
        ...

    def bring(self, record: dict[str, Any]) -> str | None:
        """Make the files of a checkpoint whole in `folder`; why that cannot be, or None."""
        ...

    def check_there(self) -> None:
        """Raise FileNotFoundError where the place itself is gone: a training would begin anew, and overwrite it later."""
        ...


def place(uri: str) -> Place:
    """The place of a path or a URL."""
    return Folder(uri) if storage.is_local(uri) else Bucket(uri)


def newest(where: Place) -> dict[str, Any] | None:
    """The record of the newest complete checkpoint whose files are whole, and here now; None if there is none."""
    where.check_there()
    for step in reversed(steps(where)):
        unread, record = _read(where, step)
        reason = unread or where.damage(step, record) or where.bring(record)
        if not reason:
            return record
        print(f"checkpoint {where.uri}/{step}: passed over, {reason}", flush=True)
    return None


def prune(where: Place, keep: int) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what is left of incomplete older ones."""
    names = steps(where)
    finished = [step for step in names if storage.exists(storage.join(where.uri, step, COMPLETE_FILE))][-keep:]
    for step in names:
        if finished and step < finished[0]:
            storage.remove(storage.join(where.uri, step))


def steps(where: Place) -> list[str]:
    """Folder names of all checkpoints, complete or not, in order."""
    return [step for step in storage.listing(where.uri) if _STEP.fullmatch(step)]


def _read(where: Place, step: str) -> tuple[str, dict[str, Any]]:
    mark = storage.join(where.uri, step, COMPLETE_FILE)
    if not storage.exists(mark):
        return f"no {COMPLETE_FILE}", {}
    try:
        return "", storage.read_json(mark)
    except ValueError:
        return f"{COMPLETE_FILE} is damaged", {}


class Folder:
    """A folder that all workers see."""

    def __init__(self, uri: str) -> None:
        self.uri = self.folder = uri

    def damage(self, step: str, record: dict[str, Any]) -> str | None:
        """See `Place`: sizes and checksums of all files."""
        for file, facts in record["files"].items():
            if reason := integrity_error(Path(self.uri) / step / file, facts):
                return f"{file} is {reason}"
        return None

    def bring(self, record: dict[str, Any]) -> str | None:
        """See `Place`: it is here."""
        return None

    def check_there(self) -> None:
        """See `Place`: a folder that is not there is a training that has not begun."""


class Bucket:
    """A URL. Node-local disks may be gone at the next start, so that the copy there is the authority."""

    def __init__(self, uri: str) -> None:
        self.uri, self.folder = uri, copies.scratch(uri)

    def check_there(self) -> None:
        """See `Place`."""
        fs, path = storage.filesystem(self.uri)
        bucket = path.split("/", 1)[0]
        if not fs.exists(bucket):
            raise FileNotFoundError(f"{self.uri}: there is no bucket {bucket}, or it is not open to these credentials")

    def damage(self, step: str, record: dict[str, Any]) -> str | None:
        """See `Place`: sizes alone; checksums would read all of it."""
        fs, path = storage.filesystem(storage.join(self.uri, step))
        for file, facts in record["files"].items():
            if (fs.size(f"{path}/{file}") if fs.exists(f"{path}/{file}") else -1) != facts["bytes"]:
                return f"{file} is missing or damaged"
        return None

    def bring(self, record: dict[str, Any]) -> str | None:
        """See `Place`: files that are here and whole are left as they are."""
        step = name(record["step"])
        fs, path = storage.filesystem(storage.join(self.uri, step))
        for file, facts in record["files"].items():
            local = Path(self.folder) / step / file
            if integrity_error(local, facts):
                local.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(f"{path}/{file}", str(local))
                if reason := integrity_error(local, facts):
                    return f"{file} is {reason}"
        return None

    def forget_copies(self, step: int) -> None:
        """Delete the checkpoints on this machine but that of a step."""
        for path in Path(self.folder).glob("step-*"):
            if path.name != name(step):
                shutil.rmtree(path)


class Copy:
    """Files of a checkpoint on their way to a bucket; rank 0 marks it complete when those of all workers are there."""

    def __init__(self, where: Place, step: int, names: list[str]) -> None:
        self.step = step
        self.error: str | None = None
        self._where, self._names = where, names
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> str | None:
        """What went wrong, once all files are there or one could not be copied."""
        self._thread.join()
        return self.error

    def complete(self, facts: dict[str, Any], files: dict[str, Any]) -> None:
        """Add the mark."""
        complete(self._where.uri, self.step, facts, files)

    def _run(self) -> None:
        try:
            fs, path = storage.filesystem(storage.join(self._where.uri, name(self.step)))
            for file in self._names:
                fs.put_file(str(Path(self._where.folder) / name(self.step) / file), storage.join(path, file))
        except Exception as error:  # of any library below fsspec
            self.error = f"{type(error).__name__}: {error}"
