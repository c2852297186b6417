"""What answers: models of this platform and others beside them, one module for each kind, by its name.

A system gets requests (`spire_ray.evaluation.tasks.Request`) and gives one answer to each. A plugin registers others.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from spire_ray.core.registry import Registry
from spire_ray.evaluation.tasks import Request, Skill
from spire_ray.settings import EvaluatedModel, GenerationSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came of one request: a text, or why there is none."""

    text: str = ""
    error: str = ""
    tokens: int = 0
    seconds: float = 0.0
    """Its share of its batch."""


class System(Protocol):
    """One model, loaded or reached."""

    def asked(self, request: Request) -> str:
        """How it is asked, for the record: the form of its prompts, or its class."""
        ...

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """An answer to each request, in order; one that cannot be asked has the reason."""
        ...


@dataclass(frozen=True, kw_only=True)
class SystemKind:
    """How systems of a kind are made, and what they can do."""

    load: Callable[[EvaluatedModel, GenerationSettings], System]
    """Raises ValueError for a model that cannot be had."""
    skills: tuple[Skill, ...]
    hears: Literal["units", "audio"] = "audio"
    options: Mapping[str, str] = field(default_factory=dict)
    """Options it takes and their defaults."""
    chooses: bool = False
    """Whether it can tell which of several answers is likelier."""
    weights: bool = True
    """Whether it is a model folder or an id of the Hub."""
    license: str = ""
    """Of weights that come without a card which states it."""
    check: Callable[[EvaluatedModel, Sequence[tuple[str, str, str]]], None] = lambda model, wanted: None
    """Raises ValueError for (skill, source, target) that it cannot do, before anything is loaded."""


SYSTEMS: Registry[SystemKind] = Registry("system", __name__)


def options(model: EvaluatedModel) -> dict[str, str]:
    """The options of a model's system. Raises ValueError for one that it does not take."""
    known = SYSTEMS[model.system].options
    for name, value in model.options.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"models.{model.name}.options.{name}={value}: {model.system} has no such option; {has}")
    return {**known, **{name: str(value) for name, value in model.options.items()}}


def beams(model: EvaluatedModel) -> int:
    """The option `beams` of a system that has it. Raises ValueError for what is no number from 1 on."""
    said = options(model)["beams"]
    if not said.isdecimal() or not int(said):
        raise ValueError(f"models.{model.name}.options.beams={said}: must be a number from 1 on")
    return int(said)


def in_batches(
    prepared: Sequence[T | ValueError],
    length: Callable[[T], int],
    alike: Callable[[int], Hashable],
    batch_size: int,
    ask: Callable[[list[int], list[T]], Sequence[tuple[str, int]]],
) -> list[Answer]:
    """Answers to inputs of similar length together; `alike` says of a row what a batch must have in common.

    An input that could not be prepared gets the reason. `ask` is given rows and inputs, and returns texts and counts of tokens.
    """
    found = {row: Answer(error=str(given)) for row, given in enumerate(prepared) if isinstance(given, ValueError)}
    groups: dict[Hashable, list[tuple[int, T]]] = {}
    for row, given in enumerate(prepared):
        if not isinstance(given, ValueError):
            groups.setdefault(alike(row), []).append((row, given))
    for group in groups.values():
        group.sort(key=lambda each: length(each[1]))
        for start in range(0, len(group), batch_size):
            rows, inputs = zip(*group[start : start + batch_size], strict=True)
            began = time.monotonic()
            made = ask(list(rows), list(inputs))
            seconds = (time.monotonic() - began) / len(rows)
            found |= {row: Answer(text, tokens=n, seconds=seconds) for row, (text, n) in zip(rows, made, strict=True)}
    return [found[row] for row in range(len(prepared))]
