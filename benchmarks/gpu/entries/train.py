"""Tokens per second of training: ours with and without the engine, and a Hugging Face Trainer as its documentation advises."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import machine
from benchmarks.gpu.entry import Absent, Day, Entry, Findings, in_own_process
from benchmarks.gpu.models import endless, llama, one_rank, span
from spire_ray.settings import TrainingSettings
from spire_ray.training import engine
from spire_ray.training.budget import Shape

ENTRY = Entry("tokens per second at 2048 and 4096, against a Hugging Face Trainer", minutes=6, needs=("deepspeed",))
ROOT = Path(__file__).parents[3]
SEVEN, SMALLER = "llama-2-7b", "eurollm-1.7b"
TARGET, TIMES_PEER = 15_000, 2.0
Speeds = dict[tuple[str, str, int], float]
"""Tokens per second by way, shape and length of rows."""


@dataclass(frozen=True)
class Case:
    """One way of `benchmarks/train.py` on one shape."""

    way: str
    shape: str
    sequence_length: int = 4096
    gib: float = 0.0
    """Of the card, below which it is left out."""
    options: tuple[str, ...] = ()
    full: bool = True


CASES = {
    "7B full, bare loop, 4096": Case("bare", SEVEN, gib=120),
    "7B full, Trainer, 4096": Case("trainer", SEVEN, gib=130, options=("--checkpointing", "full")),
    "7B full, bare loop, 2048": Case("bare", SEVEN, 2048, gib=120),
    "7B full, bare loop, 4096, recomputation": Case("bare", SEVEN, gib=70, options=("--checkpointing", "full")),
    "1.7B full, engine, 4096": Case("deepspeed", SMALLER),
    "1.7B full, Trainer, 4096": Case("trainer", SMALLER),
    "1.7B full, bare loop, 4096": Case("bare", SMALLER),
    "1.7B full, engine, 2048": Case("deepspeed", SMALLER, 2048),
    "1.7B full, engine, 4096, compile": Case("deepspeed", SMALLER, options=("--compile",)),
    "7B LoRA, engine, 4096": Case("deepspeed", SEVEN, options=("--trainable", "lora"), full=False),
}


def run(day: Day) -> None:
    """Each case by itself, and a profile of the engine's step."""
    limit = machine.limits(day.device)["bf16_tflops"]
    speeds: Speeds = {}
    ways = {(case.way, case.options): name for name, case in CASES.items()}
    for name, case in CASES.items():
        if day.small and ways[case.way, case.options] != name:  # at one small size they would be the same
            continue
        day.check(name, partial(measured, day, case, limit, speeds))
    day.check("profile", partial(profile, day))


def measured(day: Day, case: Case, limit: float, speeds: Speeds, found: Findings) -> None:
    """Tokens that are no padding, by the wall clock of the card."""
    card = machine.facts().get("gib", 0.0)
    if day.on_gpu and card < case.gib:
        raise Absent(f"needs a card of {case.gib:g} GiB")
    if case.way == "trainer" and find_spec("accelerate") is None:
        raise Absent("the Trainer wants accelerate")
    length = 256 if day.small else case.sequence_length
    command = [sys.executable, str(ROOT / "benchmarks" / "train.py"), "--way", case.way, "--sequence-length", str(length)]
    command += ["--dtype", "bfloat16", "--documents", "400", "--seconds", "0.5" if day.small else "12", "--warmup", "2"]
    command += ["--rows", "1", "--batch-documents", "8", "--micro-batches", "2" if day.small else "4", *case.options]
    command += [] if day.small else ["--shape", str(ROOT / "configs" / "shapes" / f"{case.shape}.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError("\n".join(done.stderr.strip().splitlines()[-8:]))
    result = json.loads(line.removeprefix("RESULT "))
    speed = speeds[case.way, case.shape, length] = result["tokens_per_s"]
    found.figures |= {key: round(float(result[key]), 3) for key in ("loss", "wall_s", "steps", "peak_gb") if key in result}
    if day.on_gpu:
        flops = Shape.read(_shape(case.shape)).flops(span(length), case.full)
        found["share_of_limit"] = round(speed * flops / limit / 1e12, 3)
    peer = speeds.get(("trainer", case.shape, length)) if case.full else None
    if case.shape == SEVEN and case.full and case.way != "trainer":
        found.target("tokens_per_s", speed, at_least=TARGET)
    else:
        found["tokens_per_s"] = speed
    if peer and case.way != "trainer":
        found.target("times_the_peer", speed / peer, at_least=TIMES_PEER)


def profile(day: Day, found: Findings) -> None:
    """The kernels of one step of the engine."""
    day.keep_text("profile", in_own_process(profiled, day.device, day.small))
    found["kept"] = "profile"


def profiled(device: str, small: bool) -> str:
    """A table of kernels."""
    one_rank(device)
    shape = None if small else _shape(SMALLER)
    training, path = TrainingSettings(steps=1, global_batch_size=1), str(ROOT / "configs" / "deepspeed" / "zero1.json")
    model = llama(shape, device, torch.bfloat16)
    worker = engine.Engine(model, training, engine.configuration(path, training, 1, 1), model.config.vocab_size)
    step = [batch for batch, _ in islice(endless(256 if small else 4096), 1)]
    worker.step(step, [1e-3], 1.0)
    return machine.profile(lambda: worker.step(step, [1e-3], 1.0), device)


def _shape(name: str) -> dict[str, Any]:
    shape: dict[str, Any] = json.loads((ROOT / "configs" / "shapes" / f"{name}.json").read_text())
    return shape
