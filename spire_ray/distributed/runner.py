"""`spire run RECIPE`: the stages of a recipe, each in a process of its own, on one cluster.

Without an address the runner starts a local Ray cluster once for all stages; with one, each stage is submitted through
Ray's Jobs API and waited for. A stage that is done is not done again, so a killed run continues where it was.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import yaml

from spire_ray import config, storage
from spire_ray.provenance import Output
from spire_ray.settings import Recipe, Stage, Step

RECORD_FILE = "recipe.json"
_LOG_LINES = 15


class StepError(ValueError):
    """A stage of the recipe ended with an error."""


def load(path: str, overrides: list[str]) -> Recipe:
    """A recipe; one that says `extends` takes title, steps and root from another and overrides some of its steps.

    In the overrides `step.key=value` goes to a step, `root=…` and the like to the recipe itself.
    """
    data = config.read(path)
    if "extends" in data:
        base = config.read(storage.join(os.path.dirname(path), data.pop("extends")))
        changes = data.pop("overrides", {})
        data = {**base, **data}
        unknown = set(changes) - {step["name"] for step in data["steps"]}
        if unknown:
            raise ValueError(f"{path}: overrides of unknown steps {', '.join(sorted(unknown))}")
        for step in data["steps"]:
            step["overrides"] = {**step.get("overrides", {}), **changes.get(step["name"], {})}
    names = sorted((step["name"] for step in data.get("steps", ())), key=len, reverse=True)
    for text in overrides:
        name = next((name for name in names if text.startswith(f"{name}.")), None)
        if name is None:
            key, _, value = text.partition("=")
            data[key] = yaml.safe_load(value)
            continue
        key, _, value = text.removeprefix(f"{name}.").partition("=")
        step = next(step for step in data["steps"] if step["name"] == name)
        step.setdefault("overrides", {})[key] = yaml.safe_load(value)
    recipe = config.validate(data, "run", path)
    assert isinstance(recipe, Recipe)
    folder = os.path.dirname(path)
    return replace(recipe, steps=tuple(replace(s, config=storage.join(folder, s.config)) for s in recipe.steps))


def stages(recipe: Recipe) -> dict[str, Stage]:
    """The validated settings of every step, by name."""
    return {step.name: config.load(step.config, _overrides(recipe, step)) for step in recipe.steps}


def run(recipe: Recipe, address: str = "") -> dict[str, Any]:
    """Run what is not done yet; returns the record that is written to `root/recipe.json`.

    Raises ValueError for a wrong configuration of any step before the first one starts, and StepError with the last log
    lines of a stage that ended badly.
    """
    began = time.monotonic()
    planned = stages(recipe)
    record = _record(recipe)
    todo = [step for step in recipe.steps if not _done(planned[step.name])]
    for step in recipe.steps:
        if step not in todo:
            print(f"{step.name}: done already")
    if todo:
        launch, parent, close = _remote(recipe, address) if address else _local(recipe)
        record["startup"] = round(record["startup"] + time.monotonic() - began, 1)
        try:
            for step in todo:
                start = time.monotonic()
                launch(step, planned[step.name], [*_arguments(recipe, step), f"tracking.parent={parent}"])
                record["steps"][step.name] = round(time.monotonic() - start, 1)
                record["total"] = round(record["total"] + time.monotonic() - began, 1)
                began = time.monotonic()
                storage.write_json(storage.join(recipe.root, RECORD_FILE), record)
        except BaseException:
            close("FAILED")
            raise
        close("FINISHED")
    return record


def _overrides(recipe: Recipe, step: Step) -> dict[str, Any]:
    return {**step.overrides, "root": recipe.root, "tracking.run_name": step.name}


def _arguments(recipe: Recipe, step: Step) -> list[str]:
    pairs = [f"{key}={json.dumps(value)}" for key, value in _overrides(recipe, step).items()]  # JSON is YAML
    return ["--config", step.config, *pairs]


def _done(settings: Stage) -> bool:
    return storage.exists(storage.join(settings.output, "run.json")) and Output.open(settings).complete


def _record(recipe: Recipe) -> dict[str, Any]:
    path = storage.join(recipe.root, RECORD_FILE)
    if storage.exists(path):
        return dict(storage.read_json(path))
    return {"title": recipe.title, "seed": recipe.seed, "startup": 0.0, "total": 0.0, "steps": {}}


Launch = Callable[[Step, Stage, list[str]], None]


def _local(recipe: Recipe) -> tuple[Launch, str, Callable[[str], None]]:
    """Processes on this machine, on one Ray cluster that ends with the runner."""
    import ray

    from spire_ray.distributed import context

    context.connect()
    parent, end = _parent_run(recipe)
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}

    def launch(step: Step, settings: Stage, arguments: list[str]) -> None:
        print(f"── {step.name}", flush=True)
        command = [sys.executable, f"jobs/{settings.stage}.py", *arguments]
        if subprocess.run(command, env=environment, check=False).returncode:
            raise StepError(f"the step {step.name} failed; mend it and run the recipe again, finished steps are kept")

    def close(status: str) -> None:
        end(status)
        ray.shutdown()

    return launch, parent, close


def _parent_run(recipe: Recipe) -> tuple[str, Callable[[str], None]]:
    """The MLflow run that the stages are children of."""
    from spire_ray.distributed.tracker import Tracker
    from spire_ray.tracking import store

    if not recipe.tracking.enabled:
        return "", lambda status: None
    tracker = Tracker(store(), recipe.tracking.experiment)
    tracker.start(os.path.abspath(recipe.root), recipe.title, "", {"root": recipe.root, "seed": recipe.seed}, {})

    def end(status: str) -> None:
        for name in ("report.json", "report.html"):
            path = storage.join(recipe.root, name)
            if status == "FINISHED" and storage.exists(path):
                tracker.log_artifact(name, storage.read_bytes(path))
        tracker.close(status)

    return tracker.run_id(), end


def _remote(recipe: Recipe, address: str) -> tuple[Launch, str, Callable[[str], None]]:
    """Jobs of a running cluster, submitted to its dashboard; the code is in the image or in the working directory."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    client = JobSubmissionClient(address)

    def launch(step: Step, settings: Stage, arguments: list[str]) -> None:
        print(f"── {step.name} → {address}", flush=True)
        quoted = " ".join(f"'{argument}'" for argument in arguments)
        command = f"cd '{recipe.working_directory or os.getcwd()}' && {recipe.python} jobs/{settings.stage}.py {quoted}"
        job = client.submit_job(entrypoint=command, metadata={"spire.step": step.name})
        shown = 0
        while not (status := client.get_job_status(job)).is_terminal():
            shown = _show(client.get_job_logs(job), shown)
            time.sleep(1.0)
        _show(client.get_job_logs(job), shown)
        if status != JobStatus.SUCCEEDED:
            last = "\n".join(deque(client.get_job_logs(job).splitlines(), _LOG_LINES))
            print(last, file=sys.stderr)
            raise StepError(f"the step {step.name} ended as {status} (job {job} at {address})")

    return launch, "", lambda status: None


def _show(log: str, shown: int) -> int:
    """Print what a job's log holds beyond `shown` characters."""
    print(log[shown:], end="", flush=True)
    return len(log)
