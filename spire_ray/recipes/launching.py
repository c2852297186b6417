"""How a step of a recipe is launched: a process on this machine, on a Ray cluster of its own or on the one that it is part of."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver

from spire_ray.core import storage
from spire_ray.recipes.report import Written
from spire_ray.settings import RecipeSettings, StageSettings, StepSettings

Launch = Callable[[StepSettings, StageSettings, list[str]], None]
"""Runs a step to its end with these arguments; raises StepError when it ends badly."""
Close = Callable[[str, Written | None], None]
"""Called with the status of the recipe, FINISHED or FAILED, and its report when no step is left to launch."""

_IMPORTED_ONCE = ["spire_ray.runtime.job", "ray.data", "ray.train.torch", "transformers.models.llama.modeling_llama"]
"""Imports that take seconds in most stages: the processes are forked from one that has done them."""


class StepError(ValueError):
    """A stage of the recipe ended with an error."""


def local(recipe: RecipeSettings) -> tuple[Launch, Close]:
    """Processes on this machine, on one Ray cluster that ends with the runner; the recipe is the parent run of its steps."""
    import ray

    from spire_ray.core.mlflow_store import store
    from spire_ray.runtime import cluster
    from spire_ray.runtime.tracker import SHARED, NoTracker, Tracker, share

    cluster.connect()
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(_IMPORTED_ONCE)
    # not before: Ray reads the mode of authentication, which `ray.init` sets, once, when it is imported
    forkserver.ensure_running()
    if recipe.tracking.enabled:
        os.environ[SHARED] = environment[SHARED] = share(store())
    tracker = Tracker(store(), recipe.tracking.experiment, recipe.root) if recipe.tracking.enabled else NoTracker()
    tracker.start(storage.absolute(recipe.root), recipe.title, "", {"root": recipe.root, "seed": recipe.seed}, {})

    def launch(step: StepSettings, settings: StageSettings, arguments: list[str]) -> None:
        process = processes.Process(target=_run_stage, args=(settings.stage, arguments, environment))
        process.start()
        process.join()
        if process.exitcode:
            raise StepError(f"the step {step.name} failed; mend it and run the recipe again, finished steps are kept")

    def close(status: str, written: Written | None) -> None:
        for name in written.files if written else ():
            tracker.log_artifact(name, storage.read_bytes(storage.join(recipe.root, name)))
        for name, figures in written.compared.items() if written else ():
            tracker.compare(name, figures, {})
        tracker.close(status)
        ray.shutdown()

    return launch, close


def _run_stage(stage: str, arguments: list[str], environment: dict[str, str]) -> None:
    """What `spire STAGE ARGUMENTS` does in an environment."""
    os.environ.update(environment)
    from spire_ray.cli import main

    sys.exit(main([stage, *arguments]))
