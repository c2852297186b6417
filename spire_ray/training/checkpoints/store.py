"""The checkpoints of one training, as its workers save and load them together.

With a URL they write to their disk, go on training, and copy in the background.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from spire_ray.training.checkpoints import places, record, universal
from spire_ray.training.checkpoints.places import Bucket, Copy
from spire_ray.training.engine import Engine

_ROOM = 1.1
"""A checkpoint must fit this many times into the free space."""


class CheckpointStore:
    """The checkpoints of one training, as one worker sees them. All workers call its methods together."""

    def __init__(self, uri: str, keep: int, facts: dict[str, Any]) -> None:
        """`facts` go into the record of every checkpoint."""
        self.uri = uri
        self.stalled = 0.0
        """Seconds that training has stood still for saving."""
        self.save_seconds = 0.0
        """Seconds of the longest save."""
        self.facts = dict(facts)
        self._keep = keep
        self._place = places.place(uri)
        self._copy: Copy | None = None
        self._copied: tuple[dict[str, Any], record.Files] = ({}, {})
        self._bytes = 0

    @property
    def failed(self) -> bool:
        """Whether this worker's copy in the background has gone wrong; `finish` raises the reason on all workers."""
        return self._copy is not None and self._copy.error is not None

    def newest(self) -> dict[str, Any] | None:
        """The record of the newest complete checkpoint, its files brought to this machine where they are elsewhere."""
        told: list[Any] = [places.newest(self._place) if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(told)
        found: dict[str, Any] | None = told[0]
        if found is not None:
            self._once(lambda: self._bring(found))
        return found

    def _bring(self, found: dict[str, Any]) -> None:
        if reason := self._place.bring(found):
            step = record.name(found["step"])
            raise ValueError(f"{self.uri}/{step}: {reason} on this node; delete this checkpoint to start from the one before")

    def moved(self, found: dict[str, Any]) -> bool:
        """Whether another number of workers wrote a checkpoint."""
        return bool(found["world_size"] != dist.get_world_size())

    def load(self, engine: Engine, found: dict[str, Any], as_universal: bool) -> None:
        """Read a checkpoint into an engine, brought into the universal format if the engine expects that."""
        folder = self._place.folder
        if as_universal:
            self._once(lambda: universal.convert(self._place.folder, found["step"]))
            folder = str(Path(folder) / universal.FOLDER)
        engine.load(folder, record.name(found["step"]))

    def save(self, engine: Engine, step: int, position: dict[str, int]) -> None:
        """Write a checkpoint. Raises ValueError when the disk has no room for it."""
        self.finish()
        began = time.monotonic()
        world, folder = dist.get_world_size(), self._place.folder
        self._check_room(step, max(self._bytes, engine.state_bytes))
        try:
            engine.save(folder, record.name(step), {"step": step})
        except (OSError, RuntimeError) as error:
            # torch's own words for a full disk are of positions in a file
            free, words = shutil.disk_usage(folder).free / 1e9, " ".join(str(error).split())
            raise OSError(
                f"the checkpoint of step {step} could not be written to {folder}, where {free:.2f} GB are free: {words}"
            ) from error
        dist.barrier()
        away = isinstance(self._place, Bucket)
        part, parts = (_local_rank(), _local_world()) if away else (dist.get_rank(), world)
        mine = record.describe(folder, step, part, parts)
        files = {name: facts for described in _gathered(mine) for name, facts in described.items()}
        self._bytes = sum(facts["bytes"] for facts in files.values())
        facts = {"world_size": world, "position": position, **self.facts}
        if away:
            self._copy, self._copied = Copy(self._place, step, list(mine)), (facts, files)
        elif dist.get_rank() == 0:
            record.complete(self.uri, step, facts, files)
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
                f"output={self.uri}: the checkpoint of step {copy.step} could not be copied there ({reason}); "
                "mend that and run it again"
            )
        if dist.get_rank() == 0:
            copy.complete(*self._copied)
            places.prune(self._place, self._keep)
        dist.barrier()
        self.stalled += time.monotonic() - began

    def _first_here(self) -> bool:
        """One worker for each folder: of all, or of this node."""
        return (_local_rank() if isinstance(self._place, Bucket) else dist.get_rank()) == 0

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
        shutil.rmtree(Path(self._place.folder) / universal.FOLDER, ignore_errors=True)
        if isinstance(self._place, Bucket):
            self._place.forget_copies(step)
        else:
            places.prune(self._place, self._keep)

    def _check_room(self, step: int, needed: int) -> None:
        """A disk that would run full stops all workers with one reason, before any of them writes."""
        os.makedirs(self._place.folder, exist_ok=True)
        free = min(_gathered(shutil.disk_usage(self._place.folder).free))
        if free < _ROOM * needed:
            raise ValueError(
                f"output={self.uri}: no room for the checkpoint of step {step}: {needed / 1e9:.2f} GB to write, "
                f"{free / 1e9:.2f} GB free in {self._place.folder}; make room and run it again"
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
