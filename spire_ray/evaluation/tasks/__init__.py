"""What a model can be asked about a row of a test set, and what its answer is held against.

A task is registered by a module of this package, one for each family, or of a plugin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spire_ray.core.registry import Registry
from spire_ray.evaluation.test_set import Row
from spire_ray.text.languages import Language
from spire_ray.text.prompts import Span
from spire_ray.text.record import Form

if TYPE_CHECKING:
    from spire_ray.text.tokenizer import SpeechTokenizer


@dataclass(frozen=True)
class Question:
    """A row that is put to a model."""

    tokenizer: "SpeechTokenizer"
    form: Form
    """As what the model is asked: to continue a document, or in its chat."""
    row: Row
    target: str
    """ISO 639-1 code of the language of the row's translation."""
    earlier: str = ""
    """The model's answer to the task that comes before."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to ask."""

    kind: str
    """What its answers are: `transcript`, `translation`, …; a metric says which it measures."""
    prompt: Callable[[Question], list[Span]]
    needs: tuple[Literal["units", "another", "text", "translation"], ...]
    """What a row must have for it to be asked; `another` is the speech of another row."""
    reference: Literal["text", "translation"]
    """What the answer is held against, which is also the language that it is in."""
    metrics: Callable[[Language], Sequence[str]]
    """Language of the answer → the metrics that score it unless others are asked for."""
    direction: str
    """What a model has to be trained on for it, as its folder says that: `st.{source}-{target}`."""
    after: str = ""
    """A task that is asked before, and whose answer the prompt holds."""
    forms: tuple[Form, ...] = ("cpt", "it")
    """Of models that can be asked."""
    form: Form | None = None
    """Asked in this form of every model; None: in the model's own."""

    def lacks(self, row: Row, *, reference: bool = True) -> str:
        """Why a row cannot be asked, or not be held against anything; empty where it can."""
        return next((f"no {name}" for name in (*self.needs, *([self.reference] if reference else [])) if not row.has(name)), "")


TASKS: Registry[Task] = Registry("task", "spire_ray.evaluation.tasks")


def chain(name: str) -> list[str]:
    """A task after those that come before it."""
    before = TASKS[name].after
    return [*(chain(before) if before else []), name]


def in_order(names: Sequence[str]) -> list[str]:
    """Tasks and all that they come after, each once, in the order in which they can be asked."""
    return list(dict.fromkeys(link for name in names for link in chain(name)))
