"""Joining or starting a Ray cluster, and the environment that every worker gets."""

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from spire_ray.core import access, lock, registry, storage
from spire_ray.runtime import native_log, nodes
from spire_ray.settings import StageSettings

if TYPE_CHECKING:
    import ray
    import ray.data

_SMALLEST_CLUSTER = 4
"""Logical CPUs of a local cluster: Ray Data stalls with fewer."""

_ALONE = "this_machine_alone"
"""Resource that a cluster of `local_cluster` has: it will never grow."""

_ASKED_EVERY = 5.0
"""Seconds between two looks at a cluster that is to grow."""

_ACTOR_POOLS = {"label", "pack", "pseudo_label", "generate", "evaluate", "harness"}
"""Stages that use Ray Data's pools of actors, which log a known warning as an error."""

_TELLS_ITS_LEVEL = re.compile(rb"Set ray log level from environment variable")
"""What Ray says of being silenced."""

_WORKING_DIRECTORY = "SPIRE_WORKING_DIRECTORY"

_INHERITED = ("AWS_ENDPOINT_URL", lock.HELD, registry.PLUGINS, *access.VARIABLES)
"""Variables that the workers of a cluster get from the driver, which did not start them."""

WORKER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    # glibc: keep what an utterance has freed for the next one, else its pages are given back and fetched again
    "MALLOC_TOP_PAD_": str(1 << 25),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
}


def local_cluster() -> dict[str, object]:
    """Arguments of `ray.init` for a cluster of its own on this machine, even beside one that runs."""
    return {
        "address": "local",
        "num_cpus": _logical_cpus(),
        "resources": {_ALONE: 1},
        "include_dashboard": False,
        "object_store_memory": 1 << 30,
    }


def _logical_cpus() -> int:
    return max(_SMALLEST_CLUSTER, _cores())


def _cores() -> int:
    """Cores that this process may use: fewer than the machine's under taskset or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connect(stage: str = "") -> None:
    """Join the cluster that RAY_ADDRESS names, else start one on this machine that ends with this process.

    Raises OSError when the machine is too busy to start one.
    """
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # busy machines
    if stage in _ACTOR_POOLS:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # idle workers wake a hundred times a second
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(_logical_cpus()))  # Ray warns at four times as many
    arguments = {} if os.environ.get("RAY_ADDRESS") else local_cluster()
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        with native_log.without(_TELLS_ITS_LEVEL):
            ray.init(
                **arguments,
                ignore_reinit_error=True,
                logging_level=logging.ERROR,
                log_to_driver=os.environ.get("SPIRE_WORKER_LOGS") == "1",
                runtime_env={
                    "env_vars": {**WORKER_ENVIRONMENT, **inherited, _WORKING_DIRECTORY: os.getcwd()},
                    "worker_process_setup_hook": "spire_ray.runtime.cluster.enter_working_directory",
                },
            )
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        raise OSError("Ray did not start within its 30 s: the machine is busy; run the same again later") from None


def enter_working_directory() -> None:
    """In a worker: relative paths mean what they mean to the driver, wherever the cluster was started."""
    directory = os.environ.get(_WORKING_DIRECTORY, "")
    if os.path.isdir(directory):
        os.chdir(directory)


def require(
    field: str, workers: int, cpus: float, gpus: float, beside: float = 0, *, least: int = 1, wait_minutes: float = 0.0
) -> None:
    """Say what is lacking when the cluster has no room for so many workers at once, and for `beside` CPUs more.

    A cluster that may grow is asked to, and waited for until it holds the `least` that work can begin with. Raises ValueError on
    one of this machine alone, which would wait for ever, and when nothing has come in `wait_minutes`.
    """
    if nodes.room(cpus, gpus, beside) >= workers:
        return
    lacking, alone = _lacking(workers, cpus, gpus, beside)
    if alone:
        raise ValueError(f"{field}={workers}: {lacking} on this machine; set a smaller number, or RAY_ADDRESS to a cluster")
    print(f"{field}={workers}: {lacking}; waiting for the cluster to grow", flush=True)
    if nodes.room(cpus, gpus, beside) >= least:
        return
    deadline = time.monotonic() + 60 * wait_minutes
    try:
        while nodes.room(cpus, gpus, beside) < least:
            if time.monotonic() > deadline:
                lacking, _ = _lacking(workers, cpus, gpus, beside)
                raise ValueError(
                    f"{field}={workers}: {lacking}, and no node came in wait_minutes={wait_minutes:g}; run it again to go on"
                )
            _ask_for(workers, cpus, gpus)
            time.sleep(_ASKED_EVERY)
    finally:
        _ask_for(0, cpus, gpus)  # what is asked for outlives its job, and would hold idle nodes for ever


def _ask_for(workers: int, cpus: float, gpus: float) -> None:
    """Let an autoscaler know; it sees no work that waits until there are tasks and actors."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{"CPU": cpus, **({"GPU": gpus} if gpus else {})}] * workers)


def _lacking(workers: int, cpus: float, gpus: float, beside: float) -> tuple[str, bool]:
    """What the cluster lacks, in words, and whether it is of this machine alone."""
    import ray

    have = Counter[str]()
    for node in ray.nodes():
        have.update(node["Resources"] if node["Alive"] else {})
    needed = {"CPU": workers * cpus + beside, "GPU": workers * gpus}
    short = [
        f"{number:g} {kind}s are needed, there are {have.get(kind, 0):g}"
        for kind, number in needed.items()
        if number > have.get(kind, 0)
    ]
    shape = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    fits = f"each needs {shape} of one node, which is room for {nodes.room(cpus, gpus, beside)}"
    return ", ".join(short) or fits, _ALONE in have


def ready_for_ray_train(wait_minutes: float, patience: float) -> None:
    """Settings of Ray Train, which are environment variables.

    The group may wait so many minutes for its workers to start, and so many seconds for one that answers nothing, between one
    minute and ten. On one node, spare the processes that watch for lost nodes: each costs seconds of imports at every start.
    """
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", f"{min(600.0, max(60.0, patience)):.0f}")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", f"{max(60.0, 60 * wait_minutes):.0f}")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    if nodes.alive() == 1:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")


def blocks(rows: list[dict[str, Any]]) -> "ray.data.Dataset":
    """A Ray Data set of one block for each row: no progress tables, and errors of a task are raised as they are, not printed."""
    import ray.data

    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars, settings.raise_original_map_exception = False, True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray.data.from_items(rows, override_num_blocks=len(rows))


def actors(
    workers: int,
    blocks: int,
    cpus: float = 1,
    gpus: float = 0,
    beside: int = 1,
    *,
    wait_minutes: float = 0.0,
    without: Collection[str] = (),
) -> "ray.data.ActorPoolStrategy":
    """A pool of actors, no larger than the work, with `beside` CPUs for the tasks that feed it.

    Where the nodes, `without` some, have no room for all it begins smaller and grows with them: a fixed one would take the CPUs
    of the tasks, and wait for them for ever.
    """
    import ray.data

    size = max(1, min(workers, blocks))
    require("workers", size, cpus, gpus, beside, wait_minutes=wait_minutes)
    if (now := max(1, nodes.room(cpus, gpus, beside, without))) < size:
        return ray.data.ActorPoolStrategy(min_size=now, max_size=size)
    return ray.data.ActorPoolStrategy(size=size)


def allow_compiling() -> None:
    """Let PyTorch compile in this worker; to be called before it is imported."""
    os.environ["TORCHDYNAMO_DISABLE"] = "0"


def _below(path: str, root: str) -> bool:
    return os.path.commonpath([os.path.abspath(path), os.path.abspath(root)]) == os.path.abspath(root)


def check_shared(settings: StageSettings, tracking_uri: str, inputs: Mapping[str, str]) -> None:
    """Refuse what only one node can see when the cluster has several.

    Raises ValueError for an input or output outside `storage.shared_root` and for an sqlite or file MLflow store.
    """
    alive = nodes.alive()
    if alive < 2:
        return
    root = settings.storage.shared_root
    for field, path in {"output": settings.output, **inputs}.items():
        if storage.is_local(path) and not (root and _below(path, root)):
            raise ValueError(
                f"{field}={path}: the cluster has {alive} nodes; use s3://… or a path below storage.shared_root={root!r}"
            )
    if settings.tracking.enabled and tracking_uri.startswith(("sqlite:", "file:", "/")):
        raise ValueError(f"MLFLOW_TRACKING_URI={tracking_uri}: the cluster has {alive} nodes; run an MLflow server and name it")
