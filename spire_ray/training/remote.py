"""Checkpoints at a URL: copied there in the background, brought back at a start."""

import threading
from pathlib import Path
from typing import Any

from spire_ray.core import storage
from spire_ray.training import checkpoint


class Copy:
    """Files of a checkpoint on their way to a URL; rank 0 marks it complete when those of all workers are there."""

    def __init__(self, folder: str, place: str, record: dict[str, Any], names: list[str]) -> None:
        self.record = record
        self.error: str | None = None
        self._step = checkpoint.name(record["step"])
        self._folder, self._place, self._names = folder, place, names
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> str | None:
        """What went wrong, once all files are there or one could not be copied."""
        self._thread.join()
        return self.error

    def complete(self) -> None:
        """Add the mark."""
        storage.write_json(storage.join(self._place, self._step, checkpoint.COMPLETE_FILE), self.record)

    def _run(self) -> None:
        try:
            fs, path = storage.filesystem(storage.join(self._place, self._step))
            for name in self._names:
                fs.put_file(str(Path(self._folder) / self._step / name), storage.join(path, name))
        except Exception as error:  # of any library below fsspec
            self.error = f"{type(error).__name__}: {error}"


def newest(place: str) -> dict[str, Any] | None:
    """The record of the newest complete checkpoint at a URL whose files are all there in their sizes.

    Raises FileNotFoundError where the bucket is gone: the training would begin anew, and overwrite its checkpoints once that
    is back.
    """
    fs, path = storage.filesystem(place)
    bucket = path.split("/", 1)[0]
    if not fs.exists(bucket):
        raise FileNotFoundError(f"{place}: there is no bucket {bucket}, or it is not open to these credentials")
    for name in reversed(_steps(place)):
        mark = storage.join(place, name, checkpoint.COMPLETE_FILE)
        if not storage.exists(mark):
            print(f"checkpoint {place}/{name}: passed over, no {checkpoint.COMPLETE_FILE}", flush=True)
            continue
        try:
            record: dict[str, Any] = storage.read_json(mark)
        except ValueError:
            print(f"checkpoint {place}/{name}: passed over, {checkpoint.COMPLETE_FILE} is damaged", flush=True)
            continue
        fs, path = storage.filesystem(storage.join(place, name))
        sizes = {file: fs.size(f"{path}/{file}") if fs.exists(f"{path}/{file}") else -1 for file in record["files"]}
        wrong = [file for file, facts in record["files"].items() if sizes[file] != facts["bytes"]]
        if not wrong:
            return record
        print(f"checkpoint {place}/{name}: passed over, {wrong[0]} is missing or damaged", flush=True)
    return None


def fetch(place: str, folder: str, record: dict[str, Any]) -> None:
    """Bring the files of a checkpoint to a local folder, but for those that are there already.

    Raises ValueError for a file that has changed since it was saved.
    """
    name = checkpoint.name(record["step"])
    fs, path = storage.filesystem(storage.join(place, name))
    for file, facts in record["files"].items():
        local = Path(folder) / name / file
        if checkpoint.integrity_error(local, facts):
            local.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(f"{path}/{file}", str(local))
            if reason := checkpoint.integrity_error(local, facts):
                raise ValueError(f"{place}/{name}: {file} is {reason}; delete this checkpoint to start from the one before")


def prune(place: str, keep: int) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what is left of incomplete older ones."""
    names = _steps(place)
    finished = [name for name in names if storage.exists(storage.join(place, name, checkpoint.COMPLETE_FILE))]
    for name in names:
        if finished[-keep:] and name < finished[-keep:][0]:
            fs, path = storage.filesystem(storage.join(place, name))
            fs.rm(path, recursive=True)


def _steps(place: str) -> list[str]:
    return [name for name in storage.listing(place) if name.startswith("step-")]
