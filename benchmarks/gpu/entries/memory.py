"""One step of the true shapes in each committed DeepSpeed configuration: the measured peak beside the planned one."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.gpu.entry import Absent, Day, Entry, Findings, in_own_process
from benchmarks.gpu.models import batches, llama, one_rank
from spire_ray.settings import TrainingSettings
from spire_ray.training import budget, engine
from spire_ray.training.budget import GIB, Machine, Shape

ENTRY = Entry("one step of the true shapes, planned and measured", minutes=4, needs=("deepspeed",))
CONFIGS = Path(__file__).parents[3] / "configs"
SHAPES = ("llama-2-7b", "eurollm-1.7b", "qwen3-0.6b")
"""The largest that fits is taken."""
STEPS = (
    {"trainable": "full"},
    {"trainable": "full", "gradient_checkpointing": "selective"},
    {"trainable": "full", "gradient_checkpointing": "full"},
    {"trainable": "lora"},
    {"trainable": "lora", "gradient_checkpointing": "full"},
)
"""From the most memory to the least."""
NEW_ROWS = 5_056
ROW_LENGTH, SMALL_ROW_LENGTH = 4_096, 64
_HOST_SHARE = 0.75
"""Of the free memory of the machine that offloading may take."""


@dataclass(frozen=True)
class Case:
    """One step, and what the plan says of it."""

    config: str
    shape: str
    training: TrainingSettings
    planned: float
    """GiB."""


def run(day: Day) -> None:
    """Of each configuration the most demanding step that the plan lets in, and of all the one that it refuses by the least."""
    card = torch.cuda.get_device_properties(0).total_memory / GIB if day.on_gpu else 80.0
    refused: list[Case] = []
    paths = sorted((CONFIGS / "deepspeed").glob("*.json"))
    for path in paths[1::2] if day.small else paths:  # all of them are in smoke_engine, too
        cases = [
            planned(path.stem, shape, TrainingSettings(steps=1, global_batch_size=1, **step))
            for shape in SHAPES
            for step in STEPS
        ]  # type: ignore[arg-type]
        fitting = [case for case in cases if case.planned <= card and hosted(case)]
        refused += [case for case in cases if case.planned > card and hosted(case)]
        day.check(path.stem, partial(step, day, fitting[0] if fitting else None))
    day.check("refused by little", partial(step, day, min(refused, key=lambda case: case.planned, default=None)))


def planned(config: str, shape: str, training: TrainingSettings) -> Case:
    """The plan of a step on one card."""
    machine = Machine.read(json.loads((CONFIGS / "deepspeed" / f"{config}.json").read_text()), 1)
    parts = budget.memory(Shape.read(_shape(shape)), training, machine, ROW_LENGTH, NEW_ROWS)
    return Case(config, shape, training, sum(parts.values()) / GIB)


def hosted(case: Case) -> bool:
    """Whether what a case offloads fits this machine."""
    machine = Machine.read(json.loads((CONFIGS / "deepspeed" / f"{case.config}.json").read_text()), 1)
    wanted = budget.host_memory(Shape.read(_shape(case.shape)), case.training, machine, NEW_ROWS)
    return wanted <= _HOST_SHARE * psutil.virtual_memory().available


def step(day: Day, case: Case | None, found: Findings) -> None:
    """Run it by itself."""
    if case is None:
        raise Absent("nothing fits, or nothing is refused")
    kept = case.training
    found["shape"], found["step"] = case.shape, f"{kept.trainable}, recomputation {kept.gradient_checkpointing}"
    found["planned_gib"] = round(case.planned, 1)
    found.figures |= in_own_process(measured, day.device, day.small, case)
    if day.on_gpu:
        found.target("measured_against_planned", found.figures["measured_gib"] / case.planned, at_most=1.05)
        found["short_of_plan"] = round(1 - found.figures["measured_gib"] / case.planned, 3)


def measured(device: str, small: bool, case: Case) -> dict[str, Any]:
    """Two updates, so that the optimizer's state is there; the peak is what the allocator held, and the card's context."""
    one_rank(device)
    shape = _shape(case.shape)
    if small:
        shape |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16}
        shape |= {"num_key_value_heads": 2}
    training = replace(case.training, global_batch_size=1)
    path = str(CONFIGS / "deepspeed" / f"{case.config}.json")
    before = torch.cuda.mem_get_info()[0] if device == "cuda" else 0
    model = llama(shape, device, engine.precision(path))
    first_new_token_id = shape["vocab_size"] - NEW_ROWS
    worker = engine.Engine(model, training, engine.configuration(path, training, 1, 1), first_new_token_id)
    [batch] = batches(SMALL_ROW_LENGTH if small else ROW_LENGTH)
    losses = [worker.step([batch], [1 / len(batch.targets)], 1.0)[0] for _ in range(2)]
    found: dict[str, Any] = {"losses": losses}
    if device == "cuda":
        context = torch.cuda.mem_get_info()[1] - before
        found["measured_gib"] = round((torch.cuda.max_memory_reserved() + context) / GIB, 2)
        found["allocated_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
    return found


def _shape(name: str) -> dict[str, Any]:
    shape: dict[str, Any] = json.loads((CONFIGS / "shapes" / f"{name}.json").read_text())
    return shape
