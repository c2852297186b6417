"""A training: a model folder and a pack → checkpoints. The same on two CPU cores and on a cluster of GPUs.

Every worker of torch's process group makes a `Trainer` and calls `fit`; it begins at the newest complete checkpoint.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

from spire_ray.core import copies
from spire_ray.model.extension import control_rows, new_rows
from spire_ray.packs.pack import Pack, Row
from spire_ray.settings import HeldOutSettings, TrainingSettings
from spire_ray.training import engine as engines
from spire_ray.training import sizes
from spire_ray.training.batch import Batch, LossWeights, collate
from spire_ray.training.checkpoints import ledger
from spire_ray.training.checkpoints.store import CheckpointStore
from spire_ray.training.engine import Engine
from spire_ray.training.held_out import HeldOutRows
from spire_ray.training.loading import by_turns
from spire_ray.training.meter import Meter
from spire_ray.training.schedule import rate

Log = Callable[[int, dict[str, float]], None]
_REMEMBERED = 20
"""Steps whose mean loss a jump is measured against."""


def noop(*_: Any) -> None:
    """What a training does that nobody watches, and whose machine nobody will take."""


class Trainer:
    """One worker of a training."""

    def __init__(
        self,
        model: str,
        pack: str,
        output: str,
        training: TrainingSettings,
        deepspeed: str | Mapping[str, Any],
        held_out: HeldOutSettings | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """`deepspeed` is a JSON file or what one says; `facts` go into the record of every checkpoint.

        Raises ValueError for batches that do not divide and for checkpoints of another layout in `output`.
        """
        self.pack = Pack(pack)
        self.rows = sizes.rows_of_a_step(training, self.pack.index["sequence_length"])
        """Packed rows in a step."""
        self.training = sizes.with_steps(training, self.rows, len(self.pack))
        config = engines.configuration(deepspeed, self.training, self.rows, dist.get_world_size())
        torch.manual_seed(training.seed)
        folder = copies.localize(model)
        load = partial(AutoModelForCausalLM.from_pretrained, folder, dtype=engines.precision(config))
        self.model = by_turns(load, torch.device("cuda", torch.cuda.current_device())) if _on_gpus() else load()
        self.units, first_new_token_id = new_rows(folder)
        self.store = CheckpointStore(output, training.keep, {**(facts or {}), **engines.layout(config)})
        found = self.store.newest()
        if found:
            sizes.check_layout(output, found, {**engines.layout(config)})
        as_universal = found is not None and self.store.moved(found) and engines.partitioned(config)
        self.engine = Engine(self.model, self.training, config, first_new_token_id, as_universal, control_rows(folder))
        if found:
            self.store.load(self.engine, found, as_universal)
        self.done = int(found["step"]) if found else 0
        """Steps that lie behind the checkpoint it begins at."""
        if dist.get_rank() == 0:
            ledger.truncate_after(output, after=self.done)
        dist.barrier()
        asked = held_out or HeldOutSettings()
        self._held_out = HeldOutRows(asked, training.micro_batch_size) if asked.pack else None
        self._held_out_every = asked.every
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    def fit(self, log: Log = noop, seconds_left: Callable[[], float | None] = noop, peak_tokens_per_second: float = 0.0) -> None:
        """Train until the last step.

        `log` is called on rank 0 every `log_every` steps; `seconds_left`, by all workers after each step, says when this
        machine is taken away, None while nobody wants it; `peak_tokens_per_second` is an MFU of 1, where it is known. Raises
        ValueError when the loss is not finite or jumps; the last checkpoint stays.
        """
        training, rank, world = self.training, dist.get_rank(), dist.get_world_size()
        book = ledger.Ledger(self.store.uri, rank)
        weights = LossWeights(self.units, training.unit_loss_weight, training.text_loss_weight)
        stream = self.pack.stream(training.seed, self.done * self.rows)
        meter = Meter(training, self.rows, self.pack.index["sequence_length"], len(self.pack), self.done)
        tell = log if rank == 0 else noop
        steps, warned = sizes.steps_of(training), False
        for done in range(self.done + 1, steps + 1):
            rows = list(islice(stream, self.rows))
            mine = rows[rank::world]
            loss, norm = self._step(mine, weights, done - 1, steps)
            self._check(loss, done, rows)
            book.add(done, [row.number for row in mine])
            meter.add(loss, norm)
            last = done == steps
            left = seconds_left()
            save = last or done % training.save_every == 0
            if left is not None and not warned:
                warned = True
                save = save or _sum(left > self.store.save_seconds) == (world,)  # clocks differ
            if done % training.log_every == 0 or last:
                tell(done, meter.read(done, self.engine, self.store, peak_tokens_per_second))
            if self._held_out and (done % self._held_out_every == 0 or last):
                tell(done, self._held_out.measure(self.engine))
            if save:
                book.commit(done)
                self.store.save(self.engine, done, {"rows": done * self.rows})
        self.store.finish()

    def _step(self, mine: list[Row], weights: LossWeights, step: int, steps: int) -> tuple[float, float]:
        """One update from this worker's rows: the loss over all workers, and the gradient norm."""
        size = self.training.micro_batch_size
        batches = [collate(mine[n : n + size], weights, self.pack.whole_rows) for n in range(0, len(mine), size)]
        scales = _scales(batches, self.training, dist.get_world_size())
        part, norm = self.engine.step(batches, scales, rate(self.training.optimizer, step, steps))
        loss, failed = _sum(part, self.store.failed)
        if failed:
            self.store.finish()  # raises what went wrong
        return loss, norm

    def _check(self, loss: float, step: int, rows: list[Row]) -> None:
        recent, most = self._recent, self.training.max_loss_jump
        usual = sum(recent) / len(recent) if len(recent) == _REMEMBERED else math.inf
        if math.isfinite(loss) and not 0 < most < loss - usual:
            recent.append(loss)
            return
        reason = f"is {loss}" if not math.isfinite(loss) else f"jumped to {loss:.3f} from a mean of {usual:.3f}"
        numbers = ", ".join(str(row.number) for row in rows[:_REMEMBERED])
        more = f" and {len(rows) - _REMEMBERED} more" if len(rows) > _REMEMBERED else ""
        self.store.finish()
        raise ValueError(
            f"the loss of step {step} {reason}; its rows of the pack: {numbers}{more}; "
            f"the last checkpoint in {self.store.uri} is kept"
        )


def _scales(batches: list[Batch], training: TrainingSettings, world: int) -> list[float]:
    """What the summed loss of each micro-batch is multiplied by, so that all of them add up to the loss of the step."""
    weights = [float(batch.weights.double().sum()) for batch in batches]
    if training.loss_norm == "micro_batch":
        return [1 / (weight * len(batches) * world) if weight else 0.0 for weight in weights]
    (total,) = _sum(sum(weights))
    return [1 / total if total else 0.0] * len(batches)


def _sum(*values: float) -> tuple[float, ...]:
    """The sums over all workers."""
    tensor = torch.tensor(values, dtype=torch.float64, device="cuda" if _on_gpus() else "cpu")
    dist.all_reduce(tensor)
    return tuple(tensor.tolist())


def _on_gpus() -> bool:
    return bool(dist.get_backend() == "nccl")
