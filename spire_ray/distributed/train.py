"""The stages cpt and it: Ray Train workers, each with a DeepSpeed engine.

Ray Train starts, watches and restarts the workers; checkpoints are ours alone (`spire_ray.training.checkpoint`).
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spire_ray import storage
from spire_ray.distributed import context, stage
from spire_ray.distributed.stage import Job, Plan
from spire_ray.model import licence
from spire_ray.settings import Train

METRICS_FILE = "metrics.jsonl"


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage `cpt` or `it`."""
    return stage.main(name, run, plan, arguments)


def plan(settings: Train) -> Plan:
    """Rows, tokens and steps of the training."""
    training = settings.training
    if not storage.is_local(settings.output):
        raise ValueError(f"output={settings.output}: checkpoints need a path on a disk that all workers see, not a URL")
    lines = [f"{training.steps} steps of {training.batch_rows} rows on {settings.workers.count} workers"]
    index = storage.join(settings.pack, "index.json")
    if storage.exists(index):
        facts = storage.read_json(index)
        tokens = training.steps * training.batch_rows * facts["row_length"]
        epochs = training.steps * training.batch_rows / max(1, facts["rows"])
        lines.append(f"{tokens / 1e6:.2f} M token slots, {epochs:.2f} epochs of {facts['rows']} rows")
    inputs = {"model": settings.model, "pack": settings.pack, "deepspeed": settings.deepspeed}
    return Plan(inputs, tuple(lines))


def run(job: Job[Train]) -> None:
    """Train until the last step; Ray Train restarts the workers after a failure."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = job.settings
    licence.check(storage.localize(settings.model), settings.licence.accept)
    workers = settings.workers
    context.lean_ray_train()
    scratch = os.path.join(os.path.abspath(settings.output), "ray-train")
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"settings": settings, "tracker": job.tracker},
        torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.gpus,
            resources_per_worker={"CPU": workers.cpus, **({"GPU": 1} if workers.gpus else {})},
        ),
        # a name of its own for each start: Ray Train would read its snapshot of an earlier one
        run_config=RunConfig(
            name=str(time.time_ns()),
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=workers.max_failures),
        ),
    )
    with _watching(job):
        result = trainer.fit()
    shutil.rmtree(scratch, ignore_errors=True)
    if refusal := result.return_value:
        raise ValueError(refusal)
    last = read_metrics(settings.output)[-1]
    facts = storage.read_json(storage.join(settings.pack, "index.json"))
    rows = settings.training.steps * settings.training.batch_rows
    job.facts |= {"rows": rows, "tokens": rows * facts["row_length"], "loss": round(last["loss"], 4)}


def read_metrics(folder: str) -> list[dict[str, float]]:
    """The metrics of a training, one mapping for each logged step."""
    path = os.path.join(folder, METRICS_FILE)
    if not os.path.exists(path):
        return []
    with open(path) as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


def _worker(given: dict[str, Any]) -> str | None:
    """One Ray Train worker; returns what a user has to mend, which a restart would not."""
    settings: Train = given["settings"]
    context.enter_working_directory()
    if not settings.workers.gpus:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import torch
    from ray.train import get_context
    from transformers import AutoModelForCausalLM

    from spire_ray.text.pack import Pack
    from spire_ray.text.tokenizer import UnitVocabulary
    from spire_ray.training.engine import Engine, deepspeed
    from spire_ray.training.loop import train
    from spire_ray.training.loss import PackedLoss

    torch.set_num_threads(settings.workers.cpus)
    torch.manual_seed(settings.training.seed)
    deepspeed().init_distributed(dist_backend="nccl" if settings.workers.gpus else "gloo")
    pack = Pack(settings.pack)
    vocabulary = UnitVocabulary.load(settings.model)
    units = range(vocabulary.first, vocabulary.first + vocabulary.count) if vocabulary else range(0)
    try:
        model = AutoModelForCausalLM.from_pretrained(storage.localize(settings.model), dtype=torch.float32)
        if settings.training.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        group = get_context()
        engine = Engine(PackedLoss(model), settings.deepspeed, settings.training, group.get_world_size())
        log = _Log(settings, given["tracker"])
        facts = {"mlflow_run_id": given["tracker"].run_id() if group.get_world_rank() == 0 else ""}
        train(engine, pack, settings.training, settings.output, units, facts, log)
    except ValueError as error:
        return str(error)
    return None


class _Log:
    """Metrics of rank 0: a line in `metrics.jsonl` and a point in MLflow."""

    def __init__(self, settings: Train, tracker: Any) -> None:
        self._path = os.path.join(settings.output, METRICS_FILE)
        self._tracker = tracker

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        earlier = [line for line in read_metrics(os.path.dirname(self._path)) if line["step"] < step]
        lines = [*earlier, {"step": step, **metrics}]
        storage.write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._tracker.log_metrics({f"train/{key}": value for key, value in metrics.items()}, step)


@contextmanager
def _watching(job: Job[Train]) -> Iterator[None]:
    """Show the newest line of `metrics.jsonl` as progress while the workers train."""
    stop = threading.Event()
    steps = job.settings.training.steps

    def show() -> None:
        while not stop.wait(1.0):
            if metrics := read_metrics(job.settings.output):
                last = metrics[-1]
                text = f"step {last['step']:.0f}/{steps}  loss {last['loss']:.3f}  {last['tokens_per_second']:.0f} tokens/s"
                job.progress.update(last["step"], steps, text)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
