"""The training loop of CPT and IT: the same on two CPU cores and on a cluster of GPUs."""

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist

from spire_ray.settings import Training
from spire_ray.text.pack import Pack, Row
from spire_ray.training import checkpoint
from spire_ray.training.batch import Batch, collate
from spire_ray.training.engine import Engine
from spire_ray.training.schedule import rate

Log = Callable[[int, dict[str, float]], None]


def train(engine: Engine, pack: Pack, training: Training, folder: str, units: range, facts: dict[str, Any], log: Log) -> None:
    """Train to the last step, from the newest complete checkpoint in `folder` or from the start.

    `facts` go into every checkpoint's record. `log` is called on rank 0 every `log_every` steps.
    Raises ValueError when the loss is not finite; the last checkpoint stays.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    first = _resume(engine, folder, world)
    rows = pack.stream(training.seed, first * training.batch_rows)
    began, tokens, loss_since, steps_since = time.monotonic(), 0, 0.0, 0
    for step in range(first, training.steps):
        mine = list(islice(rows, training.batch_rows))[rank::world]
        batches = list(_micro_batches(mine, training, units))
        weight = _sum(sum(float(batch.weights.sum()) for batch in batches))
        share = rate(training.optimiser, step, training.steps)
        part, norm = engine.step(batches, weight, share)
        loss = _sum(part)
        if not math.isfinite(loss):
            raise ValueError(f"the loss of step {step + 1} is {loss}; the last checkpoint in {folder} is kept")
        tokens += training.batch_rows * len(mine[0].input_ids)
        loss_since, steps_since = loss_since + loss, steps_since + 1
        done = step + 1
        if rank == 0 and (done % training.log_every == 0 or done == training.steps):
            speed = tokens / (time.monotonic() - began)
            log(
                done,
                {
                    "loss": loss_since / steps_since,
                    "grad_norm": norm,
                    "rate": share,
                    "tokens_per_second": speed,
                    "epoch": done * training.batch_rows / len(pack),
                },
            )
            loss_since, steps_since = 0.0, 0
        if done % training.save_every == 0 or done == training.steps:
            _save(engine, folder, done, training, {**facts, "world_size": world})


def _micro_batches(rows: list[Row], training: Training, units: range) -> Iterator[Batch]:
    for start in range(0, len(rows), training.micro_batch_rows):
        yield collate(rows[start : start + training.micro_batch_rows], units, training.unit_loss_weight)


def _sum(value: float) -> float:
    """The sum over all workers."""
    tensor = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor)
    return float(tensor)


def _resume(engine: Engine, folder: str, world: int) -> int:
    """Load the newest complete checkpoint and return the steps done."""
    found: list[Any] = [checkpoint.newest(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found)
    record = found[0]
    if record is None:
        return 0
    if record["world_size"] != world:
        raise ValueError(f"workers.count={world}: {folder} was begun with {record['world_size']} workers; use as many")
    engine.load(folder, checkpoint.name(record["step"]))
    return int(record["step"])


def _save(engine: Engine, folder: str, step: int, training: Training, facts: dict[str, Any]) -> None:
    engine.save(folder, checkpoint.name(step), {"step": step})
    dist.barrier()
    if dist.get_rank() == 0:
        position = {"rows": step * training.batch_rows}
        checkpoint.complete(folder, step, {"position": position, **facts})
        checkpoint.prune(folder, training.keep)
    dist.barrier()
