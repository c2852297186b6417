"""Text skills of models by tasks of lm-evaluation-harness, for the same report."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from spire_ray.core import references, storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import harness
from spire_ray.model import license
from spire_ray.runtime.job import Job
from spire_ray.settings import HarnessSettings

_TASKS = "tasks.json"


def plan(settings: HarnessSettings) -> Iterable[str]:
    """Models and tasks. Raises ValueError for none, and for two models of one name."""
    names = [model.name for model in settings.models]
    if not names or not settings.tasks:
        raise ValueError("models, tasks: name at least one of each")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"models.{twice[0]}: two models of this name; each needs its own")
    folder = settings.task_folder
    if folder and not (storage.is_local(folder) and storage.is_folder(folder)):
        raise ValueError(f"task_folder={folder}: no folder of this machine; lm-evaluation-harness reads tasks from a disk")
    return (f"{', '.join(names)} at {', '.join(settings.tasks)}",)


def run(job: Job[HarnessSettings]) -> None:
    """Ask every model that was not asked, and write `harness/`, `results.json` and `scores/`."""
    from spire_ray.runtime import pool

    settings = job.settings
    _check(settings)
    if grown(settings):
        raise ValueError(f"task_folder={settings.task_folder}: has changed since models were asked; choose another output")
    storage.write_json(storage.join(settings.output, _TASKS), harness.digest(settings.task_folder))
    for model in settings.models:
        license.check(model.model, settings.license.accept)
    todo = [{"name": model.name} for model in settings.models if not harness.is_done(settings.output, model.name)]
    for done, asked in enumerate(pool.results(AskHarness, settings, todo) if todo else (), 1):
        job.progress.update(done, len(todo), f"{asked['name']} asked")
    figures = harness.collect(settings.output, [model.name for model in settings.models])
    if not figures:
        raise ValueError(
            f"tasks={list(settings.tasks)}: none of their metrics is known here; see {settings.output}/{harness.FOLDER}"
        )
    job.facts |= {f"{each['model']}.{each['test_set']}.{each['metric']}": each["value"] for each in figures}


def grown(settings: HarnessSettings) -> bool:
    """Whether the folder of tasks is another than the one that models were asked."""
    place = storage.join(settings.output, _TASKS)
    return storage.exists(place) and storage.read_json(place) != harness.digest(settings.task_folder)


def _check(settings: HarnessSettings) -> None:
    """Raise ValueError for an interpreter without the harness, and for a task that it does not know."""
    if not Path(settings.python).exists():
        raise ValueError(
            f"python={settings.python}: no such interpreter; `make harness` makes an environment, .harness/bin/python"
        )
    folder = ["--include_path", settings.task_folder] if settings.task_folder else []
    names = ",".join(settings.tasks)
    done = subprocess.run(
        [settings.python, "-m", "lm_eval", "validate", "--tasks", names, *folder],
        capture_output=True, text=True, check=False, env=harness.apart(),
    )  # fmt: skip
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise ValueError(f"tasks={names}: lm-evaluation-harness refuses them: {' '.join(last)}")


class AskHarness:
    """A Ray Data actor: the name of a model → what the harness wrote of it."""

    def __init__(self, settings: HarnessSettings, deaths: Any = None) -> None:
        self._settings = settings
        self._models = {model.name: model.model for model in settings.models}

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a model. Out: the same."""
        [name] = batch["name"].to_pylist()
        harness.ask(self._settings, name, references.local_model(self._models[name], f"models.{name}.model"))
        return pa.table({"name": [name]})


STAGES.register("harness", Stage(HarnessSettings, plan, run, uses="lm-evaluation-harness", grown=grown))
