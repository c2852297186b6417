"""The DeepSpeed engine on one card in every committed configuration: losses against a plain loop on the CPU, save and load."""

import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.gpu.models import batches, llama, one_rank
from benchmarks.train_ways import SMALL
from spire_ray.settings import OptimizerSettings, TrainingSettings
from spire_ray.training import attention, engine
from spire_ray.training.batch import Batch
from spire_ray.training.loss import PackedLoss
from spire_ray.training.schedule import rate

ENTRY = Entry("ZeRO 0 to 3, offload, Muon, save and load", minutes=2, needs=("deepspeed",))
CONFIGURATIONS = sorted((Path(__file__).parents[3] / "configs" / "deepspeed").glob("*.json"))
SHAPE = {
    **SMALL,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
STEPS, ROW_LENGTH, MICRO_BATCHES = 4, 256, 2
ADAMW = OptimizerSettings(lr=1e-3, clip=1.0, warmup_steps=0, schedule="constant")
MUON = OptimizerSettings(name="muon", lr=1e-3, clip=0.0, warmup_steps=0, schedule="constant")


def run(day: Day) -> None:
    """Each configuration with AdamW, and Muon by ZeRO 1."""
    one_rank(day.device)
    steps = [batches(ROW_LENGTH, number=MICRO_BATCHES)] * (STEPS + 1)  # the same again and again: there is nothing else to learn
    expected = plain_loop(steps)
    for path in CONFIGURATIONS:
        day.check(f"adamw {path.stem}", partial(trained, day, path, ADAMW, steps, expected))
    day.check("muon zero1", partial(trained, day, CONFIGURATIONS[0].with_name("zero1.json"), MUON, steps, []))


def plain_loop(steps: list[list[Batch]]) -> list[float]:
    """The losses of AdamW in float32, without engine."""
    model = llama(SHAPE)
    attention.on_cpu(model)
    loss, optimizer = PackedLoss(model), torch.optim.AdamW(model.parameters(), lr=ADAMW.lr, weight_decay=ADAMW.weight_decay)
    losses = []
    for step in steps:
        counted = sum(float(batch.weights.sum()) for batch in step)
        value = torch.stack([loss(batch) / counted for batch in step]).sum()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    return losses


def trained(
    day: Day, path: Path, optimizer: OptimizerSettings, steps: list[list[Batch]], expected: list[float], found: Findings
) -> None:
    """Losses of the steps, and of the last one again by an engine that read the checkpoint before it."""
    training = TrainingSettings(steps=STEPS, global_batch_size=MICRO_BATCHES, optimizer=optimizer)
    worker = _engine(day, path, training)
    losses = [_step(worker, training, number, step) for number, step in enumerate(steps[:-1])]
    with tempfile.TemporaryDirectory() as folder:
        worker.save(folder, "step", {"step": STEPS})
        losses.append(_step(worker, training, STEPS, steps[-1]))
        del worker
        again = _engine(day, path, training)
        found.at_least("state_equal", float(again.load(folder, "step")["step"] == STEPS), 1.0)
        last = _step(again, training, STEPS, steps[-1])
    found["losses"] = [round(loss, 4) for loss in losses]
    found.at_most("loss_after_loading", abs(last / losses[-1] - 1), 1e-3)
    found.at_most("learns", losses[-1] / losses[0], 0.99)
    if expected:
        found.at_most("loss_error", max(abs(a / b - 1) for a, b in zip(losses, expected, strict=True)), 0.01)


def _engine(day: Day, path: Path, training: TrainingSettings) -> engine.Engine:
    filled = engine.configuration(str(path), training, MICRO_BATCHES, 1)
    model = llama(SHAPE).to(day.device, engine.precision(str(path)))  # the same weights as on the CPU
    return engine.Engine(model, training, filled, SHAPE["vocab_size"])


def _step(worker: engine.Engine, training: TrainingSettings, number: int, step: list[Batch]) -> float:
    counted = sum(float(batch.weights.sum()) for batch in step)
    return worker.step(step, [1 / counted] * len(step), rate(training.optimizer, number, STEPS))[0]
