"""Where a training keeps its checkpoints: a folder that all workers see, or a local one that is copied to a URL.

With a URL the copy there is the authority, as node-local disks may be gone at the next start: all workers write to their
disk, go on training, and copy in the background.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from spire_ray.core import storage
from spire_ray.training import checkpoint, remote, universal
from spire_ray.training.engine import Engine

_ROOM = 1.1
"""A checkpoint must fit this many times into the free space."""


class Store:
    """The checkpoints of one training, as one worker sees them. All workers call its methods together."""

    def __init__(self, place: str, keep: int, facts: dict[str, Any]) -> None:
        """`facts` go into the record of every checkpoint."""
        self.place = place
        self.stalled = 0.0
        """Seconds that training has stood still for saving."""
        self.save_seconds = 0.0
        """Seconds of the longest save."""
        self.facts = dict(facts)
        self._keep = keep
        self._remote = not storage.is_local(place)
        self._folder = storage.scratch(place) if self._remote else place
        self._copy: remote.Copy | None = None
        self._bytes = 0

    @property
    def failed(self) -> bool:
        """Whether this worker's copy in the background has gone wrong; `finish` raises the reason on all workers."""
        return self._copy is not None and self._copy.error is not None

    def newest(self) -> dict[str, Any] | None:
        """The record of the newest complete checkpoint, its files brought to this machine where they are elsewhere."""
        found: list[Any] = [None]
        if dist.get_rank() == 0:
            found = [remote.newest(self.place) if self._remote else checkpoint.newest(self.place)]
        dist.broadcast_object_list(found)
        record: dict[str, Any] | None = found[0]
        if record and self._remote:
            self._once(lambda: remote.fetch(self.place, self._folder, record))
        return record

    def moved(self, record: dict[str, Any]) -> bool:
        """Whether another number of workers wrote a checkpoint."""
        return bool(record["world_size"] != dist.get_world_size())

    def load(self, engine: Engine, record: dict[str, Any], as_universal: bool) -> None:
        """Read a checkpoint into an engine, brought into the universal format if the engine expects that."""
        folder = self._folder
        if as_universal:
            self._once(lambda: universal.convert(self._folder, record["step"]))
            folder = str(Path(folder) / universal.FOLDER)
        engine.load(folder, checkpoint.name(record["step"]))

    def save(self, engine: Engine, step: int, position: dict[str, int]) -> None:
        """Write a checkpoint. Raises ValueError when the disk has no room for it."""
        self.finish()
        began = time.monotonic()
        world = dist.get_world_size()
        self._check_room(step, max(self._bytes, engine.state_bytes))
        try:
            engine.save(self._folder, checkpoint.name(step), {"step": step})
        except (OSError, RuntimeError) as error:
            # torch's own words for a full disk are of positions in a file
            free, words = shutil.disk_usage(self._folder).free / 1e9, " ".join(str(error).split())
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._folder}, where {free:.2f} GB are free: {words}"
            ) from error
        dist.barrier()
        part, parts = (_local_rank(), _local_world()) if self._remote else (dist.get_rank(), world)
        mine = checkpoint.describe(self._folder, step, part, parts)
        files = {name: facts for described in _gathered(mine) for name, facts in described.items()}
        self._bytes = sum(facts["bytes"] for facts in files.values())
        facts = {"world_size": world, "position": position, **self.facts}
        if self._remote:
            self._copy = remote.Copy(self._folder, self.place, {"step": step, "files": files, **facts}, list(mine))
        elif dist.get_rank() == 0:
            checkpoint.complete(self._folder, step, facts, files)
        if self._first_here():
            self._prune(step)
        dist.barrier()
        self.save_seconds = max(self.save_seconds, time.monotonic() - began)
        self.stalled += time.monotonic() - began

    def finish(self) -> None:
        """Wait for the copy of the last checkpoint and mark it complete. Raises ValueError if any worker could not copy."""
        if self._copy is None:
            return
        began = time.monotonic()
        copy, self._copy = self._copy, None
        if reason := next(filter(None, _gathered(copy.wait())), None):
            raise ValueError(
                f"output={self.place}: the checkpoint of step {copy.record['step']} could not be copied there ({reason}); "
                "mend that and run it again"
            )
        if dist.get_rank() == 0:
            copy.complete()
            remote.prune(self.place, self._keep)
        dist.barrier()
        self.stalled += time.monotonic() - began

    def _first_here(self) -> bool:
        """One worker for each folder: of all, or of this node."""
        return (_local_rank() if self._remote else dist.get_rank()) == 0

    def _once(self, work: Callable[[], None]) -> None:
        """Do something once for each folder; a ValueError there is raised on all workers, none waits for the others."""
        reason = ""
        if self._first_here():
            try:
                work()
            except ValueError as error:
                reason = str(error)
        if told := next(filter(None, _gathered(reason)), None):
            raise ValueError(told)

    def _prune(self, step: int) -> None:
        shutil.rmtree(Path(self._folder) / universal.FOLDER, ignore_errors=True)
        if not self._remote:
            checkpoint.prune(self._folder, self._keep)
            return
        for path in Path(self._folder).glob("step-*"):
            if path.name != checkpoint.name(step):
                shutil.rmtree(path)

    def _check_room(self, step: int, needed: int) -> None:
        """A disk that would run full stops all workers with one reason, before any of them writes."""
        os.makedirs(self._folder, exist_ok=True)
        free = min(_gathered(shutil.disk_usage(self._folder).free))
        if free < _ROOM * needed:
            raise ValueError(
                f"output={self.place}: no room for the checkpoint of step {step}: {needed / 1e9:.2f} GB to write, "
                f"{free / 1e9:.2f} GB free in {self._folder}; make room and run it again"
            )


def _gathered(value: Any) -> list[Any]:
    """The value of every worker."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _local_world() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
