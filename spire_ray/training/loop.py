"""The training loop of CPT and IT: the same on two CPU cores and on a cluster of GPUs."""

import math
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from spire_ray.packs.pack import Pack, Row
from spire_ray.settings import HeldOutSettings, TrainingSettings
from spire_ray.training import ledger, sizes
from spire_ray.training.batch import Batch, LossWeights, collate
from spire_ray.training.engine import Engine, layout, partitioned
from spire_ray.training.held_out import HeldOutRows
from spire_ray.training.schedule import rate
from spire_ray.training.store import Store

Log = Callable[[int, dict[str, float]], None]
_REMEMBERED = 20
"""Steps whose mean loss a jump is measured against."""


def noop(*_: Any) -> None:
    """What a training does that nobody watches, and that nobody will take the machine of."""


@dataclass
class Run:
    """What a training needs beside its settings."""

    engine: Engine
    pack: Pack
    training: TrainingSettings
    rows: int
    """Packed rows in a step."""
    store: Store
    units: range = range(0)
    held_out: HeldOutSettings = field(default_factory=HeldOutSettings)
    log: Log = noop
    """Called on rank 0 every `log_every` steps."""
    seconds_left: Callable[[], float | None] = noop
    """Seconds until this machine is taken away; None while nobody wants it. Called by all workers after each step."""
    flops: float = 0.0
    """Floating-point operations of a token at the peak of all workers together: 1 / this is tokens/s at an MFU of 1."""


def begin(
    model: PreTrainedModel,
    training: TrainingSettings,
    ds_config: dict[str, Any],
    first_new_token_id: int,
    store: Store,
    also: Sequence[int] = (),
) -> tuple[Engine, int]:
    """An engine that stands at the newest complete checkpoint, or at the start, and the steps done."""
    record = store.newest()
    store.facts |= layout(ds_config)
    if record:
        sizes.check_layout(store.place, record, {**layout(ds_config)})
    as_universal = record is not None and store.moved(record) and partitioned(ds_config)
    engine = Engine(model, training, ds_config, first_new_token_id, as_universal, also)
    if record:
        store.load(engine, record, as_universal)
    done = int(record["step"]) if record else 0
    if dist.get_rank() == 0:
        ledger.truncate_after(store.place, after=done)
    dist.barrier()
    return engine, done


def train(run: Run, first: int) -> None:
    """Train from the `first` step to the last.

    Raises ValueError when the loss is not finite or jumps; the last checkpoint stays.
    """
    training, engine = run.training, run.engine
    rank, world = dist.get_rank(), dist.get_world_size()
    book = ledger.Ledger(run.store.place, rank)
    held_out = HeldOutRows(run.held_out, training.micro_batch_size) if run.held_out.pack else None
    weights = LossWeights(run.units, training.unit_loss_weight, training.text_loss_weight)
    stream = run.pack.stream(training.seed, first * run.rows)
    recent: deque[float] = deque(maxlen=_REMEMBERED)
    meter = _Meter(run, first)
    warned = False
    steps = sizes.steps_of(training)
    for step in range(first, steps):
        rows = list(islice(stream, run.rows))
        mine = rows[rank::world]
        batches = [
            collate(mine[start : start + training.micro_batch_size], weights, run.pack.whole_rows)
            for start in range(0, len(mine), training.micro_batch_size)
        ]
        share = rate(training.optimizer, step, steps)
        part, norm = engine.step(batches, _scales(batches, training, world), share)
        done = step + 1
        loss, failed = _sum(part, run.store.failed)
        if failed:
            run.store.finish()  # raises what went wrong
        _check(loss, recent, training, done, rows, run.store)
        recent.append(loss)
        book.add(done, [row.number for row in mine])
        meter.add(loss, norm)
        last = done == steps
        left = run.seconds_left()
        save = last or done % training.save_every == 0
        if left is not None and not warned:
            warned = True
            save = save or _sum(left > run.store.save_seconds) == (world,)  # clocks differ
        if done % training.log_every == 0 or last:
            metrics = meter.read(done)
            if rank == 0:
                run.log(done, metrics)
        if held_out and (done % run.held_out.every == 0 or last):
            measured = held_out.measure(engine)
            if rank == 0:
                run.log(done, measured)
        if save:
            book.commit(done)
            run.store.save(engine, done, {"rows": done * run.rows})
    run.store.finish()


def _scales(batches: list[Batch], training: TrainingSettings, world: int) -> list[float]:
    """What the summed loss of each micro-batch is multiplied by, so that all of them add up to the loss of the step."""
    weights = [float(batch.weights.double().sum()) for batch in batches]
    if training.loss_norm == "micro_batch":
        return [1 / (weight * len(batches) * world) if weight else 0.0 for weight in weights]
    (total,) = _sum(sum(weights))
    return [1 / total if total else 0.0] * len(batches)


def _check(loss: float, recent: deque[float], training: TrainingSettings, step: int, rows: list[Row], store: Store) -> None:
    usual = sum(recent) / len(recent) if len(recent) == _REMEMBERED else math.inf
    if math.isfinite(loss) and not 0 < training.max_loss_jump < loss - usual:
        return
    reason = f"is {loss}" if not math.isfinite(loss) else f"jumped to {loss:.3f} from a mean of {usual:.3f}"
    numbers = ", ".join(str(row.number) for row in rows[:_REMEMBERED])
    more = f" and {len(rows) - _REMEMBERED} more" if len(rows) > _REMEMBERED else ""
    store.finish()
    raise ValueError(
        f"the loss of step {step} {reason}; its rows of the pack: {numbers}{more}; the last checkpoint in {store.place} is kept"
    )


def _sum(*values: float) -> tuple[float, ...]:
    """The sums over all workers."""
    tensor = torch.tensor(values, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor)
    return tuple(tensor.tolist())


class _Meter:
    """Means and speeds since the last line of metrics."""

    def __init__(self, run: Run, first: int) -> None:
        self._run = run
        self._began, self._first = time.monotonic(), first
        self._losses: list[float] = []
        self._norm = math.nan

    def add(self, loss: float, norm: float) -> None:
        self._losses.append(loss)
        self._norm = norm

    def read(self, done: int) -> dict[str, float]:
        run, seconds = self._run, time.monotonic() - self._began
        rows = (done - self._first) * run.rows
        speed = rows * run.pack.index["sequence_length"] / seconds
        metrics = {
            "loss": sum(self._losses) / len(self._losses),
            "grad_norm": self._norm,
            "rate": rate(run.training.optimizer, done - 1, sizes.steps_of(run.training)),
            **run.engine.rates(),
            "tokens_per_second": speed,
            "step_seconds": seconds / (done - self._first),
            "epoch": done * run.rows / len(run.pack),
            "rows": done * run.rows,
            "memory_gb": _memory(),
            "save_share": run.store.stalled / seconds,
        }
        self._losses.clear()
        return metrics | ({"mfu": speed * run.flops} if run.flops else {})


def _memory() -> float:
    """Peak memory of this worker: of its GPU, else of its process."""
    if peak := torch.cuda.max_memory_allocated():
        return peak / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
