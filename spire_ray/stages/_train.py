"""What the stages cpt and it share: Ray Train workers, each with a DeepSpeed engine.

Ray Train starts, watches and restarts the workers; checkpoints are ours alone (`spire_ray.training.checkpoints`).
"""

import json
import math
import os
import time
from typing import Any

from spire_ray.core import storage
from spire_ray.core.provenance import RUN_FILE
from spire_ray.model import license
from spire_ray.runtime import cluster, group, nodes
from spire_ray.runtime.job import Job
from spire_ray.settings import TrainSettings
from spire_ray.training import checks, plan

METRICS_FILE = "metrics.jsonl"


def longer(settings: TrainSettings) -> bool:
    """Whether a finished training is asked for more steps than it was trained for."""
    made = storage.read_json(storage.join(settings.output, RUN_FILE))["config"]
    return any((getattr(settings.training, key) or 0) > (made.get(f"training.{key}") or 0) for key in ("steps", "epochs"))


def run(job: Job[TrainSettings]) -> None:
    """Train until the last step; Ray Train restarts the workers after a failure."""
    settings = job.settings
    checks.check_layout(settings)
    license.check(settings.model, settings.license.accept)
    given = {"settings": settings, "tracker": job.tracker, "watched": nodes.alive() > 1}
    with group.watched(job.progress, settings.output, lambda: _progress(settings)):
        group.run(_group(settings), _worker, given)
    metrics = {key: value for line in read_metrics(settings.output) for key, value in line.items()}
    length = storage.read_json(storage.join(settings.pack, "index.json"))["sequence_length"]
    job.facts |= {"rows": metrics["rows"], "tokens": metrics["rows"] * length, "loss": round(metrics["loss"], 4)}
    job.facts |= {key: round(value, 4) for key, value in metrics.items() if key.startswith("held_out/")}


def _group(settings: TrainSettings) -> group.Group:
    return group.Group(
        field="workers",
        count=settings.workers,
        cpus=settings.threads,
        gpus=float(settings.gpus_per_worker),
        backend="nccl" if settings.gpus_per_worker else "gloo",
        patience=60 * settings.collective_minutes,
        wait_minutes=settings.wait_minutes,
        restarts=settings.max_failures,
        output=settings.output,
        smaller="fewer training.micro_batch_size",
        kept="the newest checkpoint",
    )


def read_metrics(folder: str) -> list[dict[str, float]]:
    """The metrics of a training, one mapping for each logged step."""
    path = storage.join(folder, METRICS_FILE)
    return [json.loads(line) for line in storage.read_bytes(path).splitlines()] if storage.exists(path) else []


def _worker(given: dict[str, Any]) -> None:
    """One Ray Train worker."""
    settings: TrainSettings = given["settings"]
    if not settings.gpus_per_worker:
        os.environ["DS_ACCELERATOR"] = "cpu"
    if settings.training.compile:
        cluster.allow_compiling()
    import torch

    from spire_ray.training import engine
    from spire_ray.training.trainer import Trainer, noop

    torch.set_num_threads(settings.threads)
    engine.deepspeed().init_distributed(dist_backend="nccl" if settings.gpus_per_worker else "gloo")
    first = torch.distributed.get_rank() == 0
    facts = {"mlflow_run_id": given["tracker"].run_id() if first else ""}
    place = settings.model, settings.pack, settings.output
    trainer = Trainer(*place, settings.training, settings.deepspeed, settings.held_out, facts)
    peak = 0.0
    if settings.gpus_per_worker and (each := plan.flops(settings, trainer.pack.index, trainer.model.config.to_dict())):
        peak = settings.workers * settings.gpu.tflops * 1e12 / each
    log = _Log(settings, given["tracker"], trainer.done) if first else noop
    trainer.fit(log, _seconds_left if given["watched"] else noop, peak)
    if first:
        given["tracker"].flush()


def _seconds_left() -> float | None:
    """Seconds until a node of the group is reclaimed, None while none is. All workers ask, and get the same answer."""
    from ray.train import get_preemption_info

    info = get_preemption_info()
    if info is None:
        return None
    return math.inf if info.deadline_ms is None else info.deadline_ms / 1000 - time.time()


class _Log:
    """Metrics of rank 0: a line in `metrics.jsonl` and a point in MLflow."""

    def __init__(self, settings: TrainSettings, tracker: Any, done: int) -> None:
        """Lines after the step `done` are of a training that was stopped before its next checkpoint; they are dropped."""
        self._path = storage.join(settings.output, METRICS_FILE)
        self._tracker = tracker
        self._lines = [line for line in read_metrics(settings.output) if line["step"] <= done]

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self._lines.append({"step": step, **metrics})
        storage.write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in self._lines).encode())
        self._tracker.log_metrics({key if "/" in key else f"train/{key}": value for key, value in metrics.items()}, step)


def _progress(settings: TrainSettings) -> group.Line | None:
    """The newest line of `metrics.jsonl`."""
    metrics = [line for line in read_metrics(settings.output) if "step_seconds" in line]
    if not metrics:
        return None
    last = metrics[-1]
    steps = settings.training.steps or math.ceil(last["step"] * (settings.training.epochs or 0) / last["epoch"])
    text = f"step {last['step']:.0f}/{steps}  loss {last['loss']:.3f}  {last['tokens_per_second']:.0f} tokens/s"
    text += f"  MFU {last['mfu']:.0%}" if "mfu" in last else ""
    return last["step"], steps, text, (steps - last["step"]) * last["step_seconds"]
