"""Recipes of stages."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """One stage of a recipe."""

    name: str
    """Unique in the recipe; what stands before a dot is the part of the road it counts towards."""
    config: str = ""
    """Configuration file, relative to the recipe; or see `settings`."""
    settings: dict[str, object] = field(default_factory=dict)
    """The configuration itself, with `stage: NAME`, instead of a file."""
    overrides: dict[str, object] = field(default_factory=dict)
    """Dotted keys that this recipe sets otherwise."""


@dataclass(frozen=True, kw_only=True)
class RecipeSettings(StageSettings):
    """Stages in the order they run, each in a process of its own.

    `storage`, `license` and `wait_minutes` of a recipe hold for every step that does not say otherwise.
    """

    stage: Literal["run"] = "run"
    output: str = ""
    """Not used: a recipe writes `root/recipe.json`."""
    title: str
    variables: dict[str, str] = field(default_factory=dict)
    """Name → text, for `{name}` in any string of a step: what a user sets first, such as the manifest."""
    report: str = ""
    """Python module whose `write(root)` makes the recipe's report when its last step has ended; empty: none."""
    seed: int | None = None
    """Seed of every step that takes one; empty: each step's own."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step → seconds that it took where the recipe was measured, from which the time that is left is told."""
    steps: tuple[StepSettings, ...]
    """In the order they run; `{recipe: FILE}` among them stands for all steps of another recipe."""
