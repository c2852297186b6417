"""The report of a recipe: made by a module that the recipe names, when its last step has ended."""

from dataclasses import dataclass, field

from spire_ray.core import registry
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
    if recipe.report and not hasattr(registry.module(recipe.report, "report"), "write"):
        raise ValueError(f"report={recipe.report}: the module has no function `write(root)`")


def write(recipe: RecipeSettings) -> Written | None:
    """The report of a recipe that has ended; None where it names none."""
    return of(recipe.report, recipe.root) if recipe.report else None


def of(module: str, root: str) -> Written:
    """What a module writes of the outputs below a root. Raises ValueError for one that returns something else."""
    written = registry.module(module, "report").write(root)
    if not isinstance(written, Written):
        raise ValueError(f"report={module}: its `write` must return {Written.__module__}.Written")
    return written
