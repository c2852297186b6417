"""What a system can be asked about a row of a test set, and what its answer is held against.

A task is registered by a module of this package, one for each family, or of a plugin. It says what is wanted; in which words
that is asked, or by which call, is the system's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from spire_ray.core.registry import Registry
from spire_ray.evaluation.test_set import Row
from spire_ray.text.languages import Language
from spire_ray.text.record import Form

Skill = Literal["asr", "st", "mt", "turns", "instruct"]
"""Speech → transcript; speech → translation; text → translation; speech and its transcript → translation, in a second turn;
an instruction in plain words → whatever it wants."""
Need = Literal["speech", "another", "text", "translation", "tags", "draft", "contrast"]


@dataclass(frozen=True)
class Question:
    """A row that is put to a system."""

    row: Row
    target: str
    """ISO 639-1 code of the language of the row's translation."""
    earlier: str = ""
    """The answer to the task that comes before."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of a system."""

    skill: Skill
    row: Row
    """Its speech, as units or as audio."""
    source: str
    target: str
    """ISO 639-1 codes of what is asked about and of the answer."""
    text: str = ""
    """What is to be translated; of `turns` the transcript; of `instruct` the instruction."""
    shots: tuple[tuple[str, str], ...] = ()
    """Examples of texts and their translations, for a model that continues text."""
    choices: tuple[str, ...] = ()
    """Answers of which the likeliest is wanted; empty: any answer."""
    form: Form | None = None
    """Asked in this form of every model; None: in the model's own."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to ask."""

    kind: str
    """What its answers are: `transcript`, `translation`, …; a metric says which it measures. A `choice` is one of those that the
    request has."""
    request: Callable[[Question], Request]
    needs: tuple[Need, ...]
    """What a row must have for it to be asked; `another` is the speech of another row, as units."""
    reference: Literal["text", "translation", "tags"]
    """What the answer is held against: the row's text or tags, in its own language, or its translation."""
    metrics: Callable[[Language], Sequence[str]]
    """Language of the answer → the metrics that score it unless others are asked for."""
    direction: str
    """Skill, and what a model has to be trained on for it, as its folder says that: `st.{source}-{target}`."""
    after: str = ""
    """A task that is asked before, and whose answer the request holds."""
    forms: tuple[Form, ...] = ("cpt", "it")
    """Of models that can be asked."""

    @property
    def skill(self) -> str:
        """What a system must be able to do."""
        return self.direction.partition(".")[0]

    def lacks(self, row: Row, hears: str = "units", *, reference: bool = True) -> str:
        """Why a row cannot be asked, or not be held against anything; empty where it can. `hears`: units or audio."""
        needs = [hears if name == "speech" else name for name in (*self.needs, *([self.reference] if reference else []))]
        return next((f"no {name}" for name in needs if not row.has(name)), "")


TASKS: Registry[Task] = Registry("task", "spire_ray.evaluation.tasks")


def chain(name: str, given: Sequence[str] = ()) -> list[str]:
    """A task after those that come before it, but for those whose answers are given."""
    before = TASKS[name].after
    return [*(chain(before, given) if before and before not in given else []), name]


def in_order(names: Sequence[str], given: Sequence[str] = ()) -> list[str]:
    """Tasks and all that they come after, each once, in the order in which they can be asked."""
    return list(dict.fromkeys(link for name in names for link in chain(name, given)))
