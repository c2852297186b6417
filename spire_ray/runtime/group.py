"""A group of Ray Train workers: started, restarted after a failure, and one line on why it was given up.

Ray Train keeps no checkpoint of ours: what a stage has done is files of its own, from which the same command goes on.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from spire_ray.core import copies, storage
from spire_ray.core.progress import Progress
from spire_ray.runtime import cluster

Line = tuple[float, float, str, float | None]
"""Arguments of `Progress.update`."""


@dataclass(frozen=True)
class Group:
    """What a stage asks for, and what it tells its user."""

    field: str
    """Setting that says how many workers there are."""
    count: int
    cpus: float
    gpus: float
    """Of each worker."""
    backend: str
    """Of torch's process group."""
    patience: float
    """Seconds that a worker waits for the others."""
    wait_minutes: float
    """For nodes that the cluster lacks."""
    restarts: int
    output: str
    smaller: str
    """What needs less memory."""
    kept: str
    """Where the same command goes on."""


def run(group: Group, worker: Callable[[dict[str, Any]], Any], given: dict[str, Any]) -> Any:
    """Let every worker do `worker(given)` in a process group of torch, restarted after failures; what the first one returns.

    Raises ValueError for what a worker raised as ValueError, which a restart would not mend, and for a group given up.
    """
    from ray.exceptions import OutOfMemoryError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    cluster.ready_for_ray_train(group.wait_minutes, group.patience)
    cluster.require(group.field, group.count, group.cpus, group.gpus, least=group.count, wait_minutes=group.wait_minutes)
    scratch = _scratch(group.output)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"worker": worker, "given": given},
        torch_config=TorchConfig(backend=group.backend, timeout_s=round(group.patience)),
        scaling_config=ScalingConfig(
            num_workers=group.count,
            use_gpu=group.gpus > 0,
            resources_per_worker={"CPU": group.cpus, **({"GPU": group.gpus} if group.gpus else {})},
        ),
        # a name of its own for each start: Ray Train would read its snapshot of an earlier one
        run_config=RunConfig(
            name=str(time.time_ns()),
            storage_path=scratch,
            # else Ray Train starts workers that die in their start for ever
            failure_config=FailureConfig(max_failures=group.restarts, controller_failure_limit=group.restarts),
        ),
    )
    try:
        result = trainer.fit()
    except (TrainingFailedError, OutOfMemoryError) as error:  # Ray may end its own controller where memory is short
        raise ValueError(reason(error, group)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    done, refusal = result.return_value
    if refusal:
        raise ValueError(refusal)
    return done


def _work(given: dict[str, Any]) -> tuple[Any, str]:
    cluster.enter_working_directory()
    try:
        return given["worker"](given["given"]), ""
    except ValueError as error:
        return None, str(error)


def device(gpus: float) -> str:
    """Of the worker that asks, for torch."""
    from ray.train.torch import get_device

    return str(get_device()) if gpus else "cpu"


def _scratch(output: str) -> str:
    """Ray Train's own folder, which all nodes must see; nothing of ours is kept there."""
    place = output if storage.is_local(output) else copies.scratch(output)
    return os.path.join(os.path.abspath(place), "ray-train")


def reason(error: Exception, group: Group) -> str:
    """One line for a group that Ray Train has given up."""
    failures = getattr(error, "worker_failures", {})
    cause = next(iter(failures.values()), error)
    text = str(getattr(cause, "_base_exc", cause)).strip().rstrip(".") or type(cause).__name__
    told, fix = text.splitlines()[-1], ""
    often = f"the workers failed {group.restarts + 1} times; the last failure: "
    if "low on memory" in text:  # pages of Ray's accounts follow the first sentence
        told, fix = text.split(". ")[0], f"use nodes with more memory, or {group.smaller}, and "
        often = often if failures else ""
    return f"output={group.output}: {often}{told}; {fix}run it again to go on from {group.kept} (SPIRE_TRACEBACK=1 tells more)"


@contextmanager
def watched(progress: Progress, output: str, line: Callable[[], Line | None]) -> Iterator[None]:
    """Show as progress what `line` reads in the output while the workers work; None while there is nothing to tell."""
    stop = threading.Event()

    def show() -> None:
        while not stop.wait(1.0 if storage.is_local(output) else 10.0):
            with suppress(Exception):  # of any library below fsspec: the workers themselves will say so
                if found := line():
                    progress.update(*found)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
