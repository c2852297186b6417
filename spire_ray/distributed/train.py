"""The stages cpt and it: Ray Train workers, each with a DeepSpeed engine.

Ray Train starts, watches and restarts the workers; checkpoints are ours alone (`spire_ray.training.checkpoint`).
"""

import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from spire_ray import storage
from spire_ray.distributed import context, plan_train, stage
from spire_ray.distributed.stage import Job
from spire_ray.model import licence
from spire_ray.settings import Train

METRICS_FILE = "metrics.jsonl"


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage `cpt` or `it`."""
    return stage.main(name, run, plan_train.plan, arguments)


def run(job: Job[Train]) -> None:
    """Train until the last step; Ray Train restarts the workers after a failure."""
    from ray.exceptions import OutOfMemoryError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    settings = job.settings
    licence.check(storage.localize(settings.model), settings.licence.accept)
    workers = settings.workers
    context.ready_for_ray_train()
    context.require("workers.count", workers.count, workers.cpus, float(workers.gpus))
    scratch = _scratch(settings)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"settings": settings, "tracker": job.tracker, "watched": context.nodes() > 1},
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
            # else Ray Train starts workers that die in their start for ever
            failure_config=FailureConfig(max_failures=workers.max_failures, controller_failure_limit=workers.max_failures),
        ),
    )
    with _watching(job):
        try:
            result = trainer.fit()
        except (TrainingFailedError, OutOfMemoryError) as error:  # Ray may end its own controller where memory is short
            raise ValueError(_reason(error, settings)) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if refusal := result.return_value:
        raise ValueError(refusal)
    metrics = {key: value for line in read_metrics(settings.output) for key, value in line.items()}
    length = storage.read_json(storage.join(settings.pack, "index.json"))["row_length"]
    job.facts |= {"rows": metrics["rows"], "tokens": metrics["rows"] * length, "loss": round(metrics["loss"], 4)}
    job.facts |= {key: round(value, 4) for key, value in metrics.items() if key.startswith("held_out/")}


def _scratch(settings: Train) -> str:
    """Ray Train's own folder, which all nodes must see; nothing of ours is kept there."""
    place = settings.output if storage.is_local(settings.output) else storage.scratch(settings.output)
    return os.path.join(os.path.abspath(place), "ray-train")


def _reason(error: Exception, settings: Train) -> str:
    """One line for a training that Ray Train has given up."""
    failures = getattr(error, "worker_failures", {})
    cause = next(iter(failures.values()), error)
    text = str(getattr(cause, "_base_exc", cause)).strip().rstrip(".") or type(cause).__name__
    told, fix = text.splitlines()[-1], ""
    often = f"the workers failed {settings.workers.max_failures + 1} times; the last failure: "
    if "low on memory" in text:  # pages of Ray's accounts follow the first sentence
        told, fix = text.split(". ")[0], "use nodes with more memory, or fewer training.micro_batch_rows, and "
        often = often if failures else ""
    return (
        f"output={settings.output}: {often}{told}; {fix}run it again to go on from the newest checkpoint "
        "(SPIRE_TRACEBACK=1 tells more)"
    )


def read_metrics(folder: str) -> list[dict[str, float]]:
    """The metrics of a training, one mapping for each logged step."""
    path = storage.join(folder, METRICS_FILE)
    return [json.loads(line) for line in storage.read_bytes(path).splitlines()] if storage.exists(path) else []


def _worker(given: dict[str, Any]) -> str | None:
    """One Ray Train worker; returns what a user has to mend, which a restart would not."""
    settings: Train = given["settings"]
    context.enter_working_directory()
    if not settings.workers.gpus:
        os.environ["DS_ACCELERATOR"] = "cpu"
    if settings.training.compile:
        os.environ["TORCHDYNAMO_DISABLE"] = "0"
    import torch
    from transformers import AutoModelForCausalLM

    from spire_ray.text.pack import Pack
    from spire_ray.training import engine as engines
    from spire_ray.training import loop
    from spire_ray.training.store import Store

    torch.set_num_threads(settings.workers.cpus)
    engines.deepspeed().init_distributed(dist_backend="nccl" if settings.workers.gpus else "gloo")
    training, rank = settings.training, torch.distributed.get_rank()
    try:
        pack = Pack(settings.pack)
        rows = engines.rows_of_a_step(training, pack.index["row_length"])
        filled = engines.configuration(settings.deepspeed, training, rows, settings.workers.count)
        local = storage.localize(settings.model)
        torch.manual_seed(training.seed)
        model = AutoModelForCausalLM.from_pretrained(local, dtype=engines.precision(settings.deepspeed))
        units, first_new = new_rows(local)
        facts = {"mlflow_run_id": given["tracker"].run_id() if rank == 0 else ""}
        store = Store(settings.output, training.keep, facts)
        engine, done = loop.begin(model, training, filled, first_new, store)
        run = loop.Run(engine, pack, training, rows, store, units=units, held_out=settings.held_out)
        run.log = _Log(settings, given["tracker"], done) if rank == 0 else loop.nothing
        if given["watched"]:
            run.seconds_left = _seconds_left
        if settings.workers.gpus:
            peak = settings.workers.count * settings.workers.gpu_tflops * 1e12
            run.flops = plan_train.flops(settings, pack.index, model.config.to_dict()) / peak
        loop.train(run, done)
    except ValueError as error:
        return str(error)
    return None


def new_rows(model: str) -> tuple[range, int]:
    """Token ids of the units of a model folder, and the first row that its extension added."""
    from spire_ray.text.tokenizer import UnitVocabulary

    vocabulary = UnitVocabulary.load(model)
    if vocabulary is None:
        return range(0), sys.maxsize
    return range(vocabulary.first, vocabulary.first + vocabulary.count), vocabulary.first_new_row or vocabulary.first


def _seconds_left() -> float | None:
    """Seconds until a node of the group is reclaimed, None while none is. All workers ask, and get the same answer."""
    from ray.train import get_preemption_info

    info = get_preemption_info()
    if info is None:
        return None
    return math.inf if info.deadline_ms is None else info.deadline_ms / 1000 - time.time()


class _Log:
    """Metrics of rank 0: a line in `metrics.jsonl` and a point in MLflow."""

    def __init__(self, settings: Train, tracker: Any, done: int) -> None:
        """Lines after the step `done` are of a training that was stopped before its next checkpoint; they are dropped."""
        self._path = storage.join(settings.output, METRICS_FILE)
        self._tracker = tracker
        self._lines = [line for line in read_metrics(settings.output) if line["step"] <= done]

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self._lines.append({"step": step, **metrics})
        storage.write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in self._lines).encode())
        self._tracker.log_metrics({key if "/" in key else f"train/{key}": value for key, value in metrics.items()}, step)


@contextmanager
def _watching(job: Job[Train]) -> Iterator[None]:
    """Show the newest line of `metrics.jsonl` as progress while the workers train."""
    stop = threading.Event()
    steps, output = job.settings.training.steps, job.settings.output

    def show() -> None:
        while not stop.wait(1.0 if storage.is_local(output) else 10.0):
            metrics = []
            with suppress(Exception):  # of any library below fsspec: the training itself will say so
                metrics = [line for line in read_metrics(output) if "step_seconds" in line]
            if metrics:
                last = metrics[-1]
                text = f"step {last['step']:.0f}/{steps}  loss {last['loss']:.3f}  {last['tokens_per_second']:.0f} tokens/s"
                text += f"  MFU {last['mfu']:.0%}" if "mfu" in last else ""
                job.progress.update(last["step"], steps, text, (steps - last["step"]) * last["step_seconds"])

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
