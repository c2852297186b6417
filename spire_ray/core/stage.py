"""What a stage declares. Each is one module of `spire_ray.stages`, or of a plugin, that ends with `STAGES.register(…)`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from spire_ray.core.registry import Registry
from spire_ray.settings import StageSettings

S = TypeVar("S", bound=StageSettings)


def _never(settings: StageSettings) -> bool:
    return False


@dataclass(frozen=True)
class Stage(Generic[S]):
    """The declaration of a stage. Its name is that of its module, its description the first line there."""

    settings: type[S]
    plan: Callable[[S], Iterable[str]]
    """Lines about the work for a dry run; raises ValueError for what cannot work. What takes long is left to a generator, which
    a dry run alone reads. Whether the inputs are there is asked by the types of the settings."""
    run: Callable[[Any], None]
    """Does the work of a `spire_ray.runtime.job.Job`."""
    uses: str
    """Libraries that do the work, for the table of stages."""
    grown: Callable[[S], bool] = _never
    """Whether a finished folder has more to do because its input has grown."""
    adopts: Callable[[S], bool] = _never
    """Whether an output folder without a record holds nothing but what this stage would have made."""
    instead: Callable[[S], bool] = _never
    """Asked before the output folder is touched; where it returns true it has done what the settings wanted."""


STAGES: Registry[Stage[Any]] = Registry("stage", "spire_ray.stages")
