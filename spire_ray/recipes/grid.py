"""A recipe over several values of one setting: one recipe in which each step stands as often as it differs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from spire_ray.core import config, storage
from spire_ray.recipes import plan, runner
from spire_ray.settings import RecipeSettings, StageSettings, StepSettings

FILE = "grid.json"
_REPORT = "spire_ray.recipes.grid_report"
_SCORED = ("evaluate", "score")


@dataclass(frozen=True)
class Grid:
    """What is run, and where its figures are."""

    recipe: RecipeSettings
    key: str
    figures: dict[str, list[str]]
    """Value → folders of evaluations."""

    def keep(self) -> None:
        """Write what the report reads, `root/grid.json`."""
        storage.write_json(storage.join(self.recipe.root, FILE), {"key": self.key, "figures": self.figures})


def expanded(path: str, overrides: Sequence[str], given: str) -> Grid:
    """KEY=a,b,c → the recipe over these values of a setting. A step that no value changes stays where the recipe has it.

    The steps that a value changes, and those that read what they make, get folders of their own below `{root}/grid/KEY`. Raises
    ValueError for a setting that changes nothing that is measured.
    """
    key, values = _parsed(given)
    base = runner.load(path, list(overrides))
    planned, root = runner.stages(base), storage.join(base.root, "grid", key)
    steps, scored = dict[str, StepSettings](), dict[str, dict[str, str]]()
    varied: set[str] = set()
    for name, value in values.items():
        mine = runner.stages(runner.load(path, [*overrides, f"{key}={json.dumps(value)}"]))
        moved = _moved(planned, mine, storage.join(root, _folder(name)))
        varied |= moved.keys()
        places = {mine[other].output: to for other, to in moved.items()}
        for step, settings in mine.items():
            place, said = f"{step}@{name}" if step in moved else step, _relocated(config.to_dict(settings), places)
            steps[place] = StepSettings(name=place, settings=said)
            if settings.stage in _SCORED:
                scored.setdefault(name, {})[step] = said["output"]
    figures = {value: [place for step, place in of.items() if step in varied] for value, of in scored.items()}
    if not any(figures.values()):
        raise ValueError(
            f"--grid {given}: changes nothing that a step {' or '.join(_SCORED)} measures, so there is nothing to compare"
        )
    recipe = replace(
        base,
        title=f"{base.title} over {key}",
        root=root,
        report=_REPORT,
        steps=tuple(steps.values()),
        variables={},  # they are in the steps already, as seeds are
        seed=None,
        seconds={},
    )
    return Grid(recipe, key, figures)


def _parsed(given: str) -> tuple[str, dict[str, Any]]:
    key, equals, text = given.partition("=")
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        values = []
    named = {value if isinstance(value, str) else json.dumps(value): value for value in values}
    folders = {_folder(name) for name in named}
    if not (key and equals) or len(named) < 2 or len(folders) < len(values):
        raise ValueError(
            f"--grid {given}: expected KEY=a,b,c, a setting as in `step.key=value` and two values or more, each once"
        )
    return key, named


def _folder(value: str) -> str:
    return re.sub(r"[^\w.+-]", "_", value)


def _moved(planned: Mapping[str, StageSettings], mine: Mapping[str, StageSettings], root: str) -> dict[str, str]:
    """Steps that a value changes, and those that read what they make → their folders."""
    moved: dict[str, str] = {}
    for name, settings in mine.items():
        changed = config.identity(settings) != config.identity(planned[name])
        if changed or plan.needs(name, mine) & moved.keys():
            moved[name] = storage.join(root, name)
    return moved


def _relocated(value: Any, places: Mapping[str, str]) -> Any:
    """A configuration with every path at or below some folders moved to others."""
    if isinstance(value, dict):
        return {key: _relocated(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_relocated(item, places) for item in value]
    if not isinstance(value, str):
        return value
    several = [_moved_path(each, places) for each in storage.alternatives(value)]
    return value if several == storage.alternatives(value) else several[0] if len(several) == 1 else f"{{{','.join(several)}}}"


def _moved_path(path: str, places: Mapping[str, str]) -> str:
    found = (
        f"{to}{path.removeprefix(folder)}" for folder, to in places.items() if path == folder or path.startswith(f"{folder}/")
    )
    return next(found, path)
