"""What a number among the settings may be. `spire_ray.core.config` refuses others with the field, the value and the bound."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Bound:
    """One bound of a number, by pydantic's name for it: `ge`, `gt` or `le`. It is read without pydantic being installed."""

    kind: str
    value: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Called by pydantic."""
        return {**handler(source), self.kind: self.value}


PositiveInt = Annotated[int, Bound("ge", 1)]
NonNegativeInt = Annotated[int, Bound("ge", 0)]
PositiveFloat = Annotated[float, Bound("gt", 0)]
NonNegativeFloat = Annotated[float, Bound("ge", 0)]
Fraction = Annotated[float, Bound("ge", 0), Bound("le", 1)]
