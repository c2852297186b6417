"""The report of a recipe: made by a module that the recipe names, when its last step has ended."""

import importlib
from dataclasses import dataclass, field

from spire_ray.core.registry import load_plugins
from spire_ray.settings import RecipeSettings


@dataclass(frozen=True)
class Written:
    """What `write(root)` of such a module returns."""

    text: str
    """Printed at the end."""
    files: tuple[str, ...] = ()
    """Files below the root, which go to the recipe's MLflow run."""
    compared: dict[str, dict[str, float]] = field(default_factory=dict)
    """Model → its figures: an MLflow run for each, with the same names of metrics, so that they can be compared."""


def check(recipe: RecipeSettings) -> None:
    """Raises ValueError for a module that cannot be imported or has no `write`."""
    load_plugins(recipe.plugins)
    if not recipe.report:
        return
    try:
        found = hasattr(importlib.import_module(recipe.report), "write")
    except ImportError as error:
        raise ValueError(f"report={recipe.report}: cannot be imported: {error}") from error
    if not found:
        raise ValueError(f"report={recipe.report}: the module has no function `write(root)`")


def write(recipe: RecipeSettings) -> Written | None:
    """The report of a recipe that has ended; None where it names none."""
    return importlib.import_module(recipe.report).write(recipe.root) if recipe.report else None
