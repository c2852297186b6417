"""`spire run RECIPE`: the stages of a recipe, each in a process of its own, on one cluster.

The runner joins the Ray cluster of RAY_ADDRESS, as in a job of one, or starts a local one for all stages. A stage that is done is
not done again, so a killed run continues where it was.
"""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import yaml

from spire_ray.core import config, storage
from spire_ray.core.provenance import RUN_FILE, Output
from spire_ray.core.stage import STAGES
from spire_ray.recipes import launching, plan, report
from spire_ray.recipes.outlook import Outlook
from spire_ray.settings import RecipeSettings, StageSettings, StepSettings

RECORD_FILE = "recipe.json"
AT_ONCE = 2
"""Steps that run beside each other: most of a start is imports, which use one core."""


_FOR_ALL_STEPS = ("storage", "license", "wait_minutes")
"""Settings of a recipe that every step has which says nothing else."""


def load(path: str, overrides: list[str]) -> RecipeSettings:
    """A recipe; one that says `extends` takes title, steps and root from another and overrides some of its steps.

    A step `{recipe: FILE}` stands for all steps of that one.
    In the overrides `step.key=value` goes to a step, `root=…` and the like, and the recipe's variables, to the recipe itself.
    """
    data = config.read(path)
    folder = os.path.dirname(path) or "."
    changes: dict[str, Any] = {}
    if "extends" in data:
        file, changes = data.pop("extends"), data.pop("overrides", {})
        data = {**config.read(storage.join(folder, file)), "variables": {}, "steps": [{"recipe": file}], **data}
    data["steps"] = [each for step in data.get("steps", ()) for each in _included(step, folder, data)]
    if unknown := set(changes) - {step["name"] for step in data["steps"]}:
        raise ValueError(f"{path}: overrides of unknown steps {', '.join(sorted(unknown))}")
    for step in (step for step in data["steps"] if step["name"] in changes):
        step["overrides"] = {**step.get("overrides", {}), **changes[step["name"]]}
    names = sorted((step["name"] for step in data.get("steps", ())), key=len, reverse=True)
    for text in overrides:
        name = next((name for name in names if text.startswith(f"{name}.")), None)
        if name is None:
            key, _, value = text.partition("=")
            (data["variables"] if key in data.get("variables", {}) else data)[key] = yaml.safe_load(value)
            continue
        key, _, value = text.removeprefix(f"{name}.").partition("=")
        step = next(step for step in data["steps"] if step["name"] == name)
        step.setdefault("overrides", {})[key] = yaml.safe_load(value)
    recipe = config.validate(data, "run", path)
    assert isinstance(recipe, RecipeSettings)
    return replace(recipe, steps=tuple(replace(step, settings=_content(step, folder)) for step in recipe.steps))


def stages(recipe: RecipeSettings) -> dict[str, StageSettings]:
    """The validated settings of every step, by name."""
    return {step.name: config.validate(_resolved(recipe, step), path=f"step {step.name}") for step in recipe.steps}


def _included(step: dict[str, Any], folder: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """A step as it is written, or those of the recipe that it names, whose variables `data` takes where it has none."""
    if set(step) != {"recipe"}:
        if "name" not in step:
            raise ValueError(f"steps: {step}: needs a `name`, or `recipe` and nothing else")
        return [step]
    other = config.read(storage.join(folder, step["recipe"]))
    if other.get("extends") or other.get("stage") != config.RECIPE or "steps" not in other:
        raise ValueError(f"{step['recipe']}: must be a recipe with steps of its own")
    data["variables"] = {**other.get("variables", {}), **data.get("variables", {})}
    place = os.path.dirname(step["recipe"])
    found = [each for one in other["steps"] for each in _included(one, storage.join(folder, place), data)]
    return [{**each, "config": storage.join(place, each["config"])} if place and "config" in each else each for each in found]


def configurations(recipe: RecipeSettings) -> dict[str, dict[str, Any]]:
    """What each step says once the recipe is applied to it: a cluster need not have its files."""
    parent = {"tracking.parent": storage.absolute(recipe.root)}
    return {step.name: config.overridden(_resolved(recipe, step), parent) for step in recipe.steps}


def _content(step: StepSettings, folder: str) -> dict[str, Any]:
    """The configuration of a step, read from its file where it names one."""
    if bool(step.config) == bool(step.settings):
        raise ValueError(f"steps: {step.name}: give `config`, a file, or `settings`, the configuration itself")
    return config.read(storage.join(folder, step.config)) if step.config else dict(step.settings)


def _resolved(recipe: RecipeSettings, step: StepSettings) -> dict[str, Any]:
    """The configuration of a step with what the recipe sets: overrides, root, variables, seed."""
    data = config.overridden(step.settings, {**step.overrides, "root": recipe.root, "tracking.run_name": step.name})
    data = dict(config.substituted(_with_defaults(recipe, data), recipe.variables))
    if recipe.seed is None:
        return data
    keys = config.flatten(config.to_dict(config.validate(data)))
    return config.overridden(data, {key: recipe.seed for key in keys if key.split(".")[-1] == "seed"})


def _with_defaults(recipe: RecipeSettings, data: dict[str, Any]) -> dict[str, Any]:
    """A step's configuration with what the recipe says for all of them and the step does not say: storage, licenses, patience."""
    said, own = config.flatten(config.to_dict(recipe)), config.flatten(data)
    usual = config.flatten(config.to_dict(RecipeSettings(title="", steps=())))
    for key in (key for key in said if key.split(".")[0] in _FOR_ALL_STEPS):
        if said[key] != usual[key] and key not in own:
            data = config.overridden(data, {key: said[key]})
    return data


def run(recipe: RecipeSettings) -> None:
    """Run what is not done yet, keep the record in `root/recipe.json`, and end with the report.

    Raises ValueError for a wrong configuration of any step before the first one starts, and StepError with the last log
    lines of a stage that ended badly.
    """
    began = time.monotonic()
    planned = stages(recipe)
    report.check(recipe)
    if missing := plan.absent(planned):
        raise ValueError(
            f"{missing[0]}: not found, and no step makes it" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
        )
    deque(plan.lines(planned), 0)  # what the plan of any step refuses
    record = _record(recipe)
    finished = finished_of(planned)
    for name in finished:
        print(f"{name}: done already")
    if len(finished) < len(planned):
        launch, close = launching.local(recipe)
        record["startup"] = round(record["startup"] + time.monotonic() - began, 1)
        try:
            for name, seconds in _in_order(recipe, planned, finished, launch):
                record["steps"][name] = round(record["steps"].get(name, 0.0) + seconds, 1)
                record["total"] = round(record["total"] + time.monotonic() - began, 1)
                began = time.monotonic()
                storage.write_json(storage.join(recipe.root, RECORD_FILE), record)
            written = report.write(recipe)
        except BaseException:
            close("FAILED", None)
            raise
        close("FINISHED", written)
    else:
        storage.write_json(storage.join(recipe.root, RECORD_FILE), _completed(record, planned))
        written = report.write(recipe)
    if written:
        print(f"\n{written.text}")


def _in_order(
    recipe: RecipeSettings, planned: dict[str, StageSettings], finished: set[str], launch: launching.Launch
) -> Iterator[tuple[str, float]]:
    """Launch each step when the steps whose outputs it reads have finished, two at a time; (name, seconds) of each.

    Raises StepError once the steps that run beside a failed one have ended.
    """
    waiting = [step for step in recipe.steps if step.name not in finished]
    running: dict[Future[float], str] = {}
    needs = {name: plan.needs(name, planned) for name in planned}
    outlook = Outlook(planned, [step.name for step in waiting], recipe.seconds, needs, AT_ONCE)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while waiting or running:
            for step in [step for step in waiting if needs[step.name] <= finished][: AT_ONCE - len(running)]:
                waiting.remove(step)
                print(outlook.line(step.name), flush=True)
                arguments = _arguments(recipe, step)
                running[pool.submit(_timed, launch, step, planned[step.name], arguments)] = step.name
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                seconds = future.result()
                finished.add(name)
                outlook.ended(name)
                yield name, seconds


def _timed(launch: launching.Launch, step: StepSettings, settings: StageSettings, arguments: list[str]) -> float:
    began = time.monotonic()
    launch(step, settings, arguments)
    return time.monotonic() - began


def _arguments(recipe: RecipeSettings, step: StepSettings) -> list[str]:
    """A step's configuration travels as what it says."""
    return ["--config", json.dumps(configurations(recipe)[step.name], ensure_ascii=False)]


def finished_of(planned: dict[str, StageSettings]) -> set[str]:
    """Steps that have nothing to do. Those that read what another will do first are asked again when it has."""
    finished: set[str] = set()
    for name, settings in planned.items():
        if plan.needs(name, planned) <= finished and _done(settings):
            finished.add(name)
    return finished


def _done(settings: StageSettings) -> bool:
    if not storage.exists(storage.join(settings.output, RUN_FILE)):
        return False
    return Output.open(settings).complete and not STAGES[settings.stage].grown(settings)


def _record(recipe: RecipeSettings) -> dict[str, Any]:
    path = storage.join(recipe.root, RECORD_FILE)
    if storage.exists(path):
        return dict(storage.read_json(path))
    return {"title": recipe.title, "report": recipe.report, "seed": recipe.seed, "startup": 0.0, "total": 0.0, "steps": {}}


def _completed(record: dict[str, Any], planned: dict[str, StageSettings]) -> dict[str, Any]:
    """The record of a recipe whose steps were run one by one, as jobs of their own, as far as the runner did not run them."""
    own = {
        name: storage.read_json(storage.join(settings.output, RUN_FILE))["seconds"]
        for name, settings in planned.items()
        if name not in record["steps"]
    }
    return {**record, "steps": {**record["steps"], **own}, "total": round(record["total"] + sum(own.values()), 1)}
