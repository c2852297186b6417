"""What a value among the settings may be, and what it means: bounds of numbers, references to what others made, how a stage runs.

`spire_ray.core.config` refuses a number out of its bounds with the field, the value and the bound. The marks are read without
pydantic being installed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """One bound of a number, by pydantic's name for it: `ge`, `gt` or `le`."""

    kind: str
    value: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Called by pydantic."""
        return {**handler(source), self.kind: self.value}


PositiveInt = Annotated[int, Bound("ge", 1)]
NonNegativeInt = Annotated[int, Bound("ge", 0)]
PositiveFloat = Annotated[float, Bound("gt", 0)]
NonNegativeFloat = Annotated[float, Bound("ge", 0)]
Port = Annotated[int, Bound("ge", 1), Bound("le", 65_535)]
Fraction = Annotated[float, Bound("ge", 0), Bound("le", 1)]


@dataclass(frozen=True)
class Reference:
    """Mark of a text that names what a stage reads; an empty text names nothing. See `spire_ray.core.references`."""

    kind: Literal["model", "encoder", "folder", "manifest", "file"]


ModelReference = Annotated[str, Reference("model")]
"""A model folder, local or `s3://…`, or a Hugging Face id, `id@revision` to pin it."""
EncoderReference = Annotated[str, Reference("encoder")]
"""The same of a speech encoder, or the name of a kind that has no weights."""
Folder = Annotated[str, Reference("folder")]
"""What another stage made."""
Manifest = Annotated[str, Reference("manifest")]
"""A manifest of any format, a folder of audio, a pattern; or the units that the stage label made."""
File = Annotated[str, Reference("file")]


@dataclass(frozen=True)
class Growth:
    """Mark of a reference to rows that may become more, or others, and whose stage goes on with what is new."""


Growing = Annotated[T, Growth()]
"""A reference whose folder may have grown since: of it the identity holds who made it, not what lies in it now."""


@dataclass(frozen=True)
class Constancy:
    """Mark of a reference to files whose stage reads all of them once, and does not go on with what is new."""


Constant = Annotated[T, Constancy()]
"""A reference of which the identity holds what lies in it, where no stage has made it."""


@dataclass(frozen=True)
class Operation:
    """Mark of how and where a stage runs, which decides nothing of what it makes."""


Operational = Annotated[T, Operation()]
"""A field that is no part of an output's identity: another value continues the same output folder."""
