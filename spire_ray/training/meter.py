"""Means and speeds of a training since its last line of metrics."""

import math
import resource
import time

import torch

from spire_ray.settings import TrainingSettings
from spire_ray.training import sizes
from spire_ray.training.checkpoints.store import CheckpointStore
from spire_ray.training.engine import Engine
from spire_ray.training.schedule import rate


class Meter:
    """Counts from the `first` step of this start on."""

    def __init__(self, training: TrainingSettings, rows: int, sequence_length: int, pack_rows: int, first: int) -> None:
        """`rows` in a step, of `sequence_length` tokens; `pack_rows` in an epoch."""
        self._training, self._rows, self._length, self._pack_rows = training, rows, sequence_length, pack_rows
        self._began, self._first = time.monotonic(), first
        self._losses: list[float] = []
        self._norm = math.nan

    def add(self, loss: float, norm: float) -> None:
        """Count a step."""
        self._losses.append(loss)
        self._norm = norm

    def read(self, done: int, engine: Engine, store: CheckpointStore, peak_flops: float) -> dict[str, float]:
        """The metrics after step `done`. `peak_flops` is the rate of all workers, in tokens/s at an MFU of 1; 0: not known."""
        seconds = time.monotonic() - self._began
        speed = (done - self._first) * self._rows * self._length / seconds
        metrics = {
            "loss": sum(self._losses) / len(self._losses),
            "grad_norm": self._norm,
            "rate": rate(self._training.optimizer, done - 1, sizes.steps_of(self._training)),
            **engine.rates(),
            "tokens_per_second": speed,
            "step_seconds": seconds / (done - self._first),
            "epoch": done * self._rows / self._pack_rows,
            "rows": done * self._rows,
            "memory_gb": _memory(),
            "save_share": store.stalled / seconds,
        }
        self._losses.clear()
        return metrics | ({"mfu": speed / peak_flops} if peak_flops else {})


def _memory() -> float:
    """Peak memory of this worker: of its GPU, else of its process."""
    if peak := torch.cuda.max_memory_allocated():
        return peak / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
