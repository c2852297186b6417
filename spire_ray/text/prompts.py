"""Every prompt of SPIRE, byte for byte: of its training (paper, Table 1) and of its inference (SpireLM's templates).

A document is a list of spans; a span is text, or speech as units. Spans marked `answer` carry the loss in instruction
tuning. CPT documents are plain text; IT documents are turns in the chat format of the model.

The sources disagree about two spaces, and each has a name: `spire-2026` is the form of the released templates, and the
default; `spire-2025` is the form at the time of the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spire_ray.text.chat import CHATML, ChatFormat
from spire_ray.text.languages import language

SPEECH = "\ufffc"
"""Where the units go in a prompt: the object replacement character."""


@dataclass(frozen=True)
class Style:
    """Where the sources disagree."""

    after_speech: str
    """After `Speech:` in a CPT document: nothing as Table 1 of the paper prints it, else a space."""
    before_label: str
    """Before the language that asks, in a single-turn question about speech: a space in the templates of 2025."""


STYLES = {"spire-2025": Style(after_speech="", before_label=" "), "spire-2026": Style(after_speech=" ", before_label="")}
RELEASED = STYLES["spire-2026"]


@dataclass(frozen=True)
class Span:
    """A piece of a document: exactly one of text and units."""

    text: str = ""
    units: np.ndarray | None = None
    answer: bool = False
    control: bool = False
    """ChatFormat of the chat, the one place where control tokens may stand."""


@dataclass(frozen=True)
class Turn:
    """A question and its answer; units go where the question says `SPEECH`."""

    user: str
    assistant: str = ""


def _speech(text: str, units: np.ndarray | None) -> list[Span]:
    if units is None or SPEECH not in text:
        return [Span(text)]
    before, _, after = text.partition(SPEECH)
    return [Span(before), Span(units=units), Span(after)]


def _label(code: str) -> str:
    return f"{language(code).name}:"


# --- what a CPT document begins with --------------------------------------------------------------------------------


def asr_completion(source: str = "en", style: Style = RELEASED) -> str:
    """Speech → transcript, as continued pre-training has it."""
    return f"Speech:{style.after_speech}{SPEECH}\n{_label(source)}"


def mt_completion(text: str, source: str, target: str) -> str:
    """Text → translation, as continued pre-training has it; `mt_icl` of SpireLM."""
    return f"{_label(source)} {text}\n{_label(target)}"


# --- questions ------------------------------------------------------------------------------------------------------


def asr_prompt(source: str = "en", style: Style = RELEASED) -> str:
    """Speech → transcript; `asr_simple` of SpireLM."""
    return f"Speech: {SPEECH}\n{style.before_label}{_label(source)}"


def st_prompt(target: str, style: Style = RELEASED) -> str:
    """Speech → translation, directly; `st_simple`."""
    return f"Speech: {SPEECH}\n{style.before_label}{_label(target)}"


def mt_prompt(text: str, source: str, target: str) -> str:
    """Text → translation, as an instruction; `mt_zero`."""
    names = language(source).name, language(target).name
    return f"Translate the following text from {names[0]} to {names[1]}.\n{names[0]}: {text}\n{names[1]}:"


# --- documents ---------------------------------------------------------------------------------------------------


def completion(prompt: str, answer: str, units: np.ndarray | None = None) -> list[Span]:
    """A CPT document: prompt, one space, answer. The loss is on every token."""
    *head, last = _speech(prompt, units)
    return [*head, Span(f"{last.text} {answer}")]


def prompt(question: str, units: np.ndarray | None = None) -> list[Span]:
    """The prompt whose answer a CPT document holds."""
    return _speech(question, units)


def few_shot(shots: Sequence[list[Span]], question: list[Span]) -> list[Span]:
    """Completed examples before a question, one line break between them: how a base model is asked."""
    return [span for shot in shots for span in (*shot, Span("\n"))] + question


def chat(turns: Sequence[Turn], units: np.ndarray | None = None, markup: ChatFormat = CHATML, system: str = "") -> list[Span]:
    """An IT document: turns with the loss on each answer and on what closes it.

    An empty answer in the last turn makes the prompt that asks for it. The units go where the first question wants them.
    """
    if markup.trims:
        turns = [Turn(turn.user.strip(), turn.assistant.strip()) for turn in turns]
        system = system.strip()
    first = [Span(markup.opening, control=True)]
    if system:
        first = [Span(markup.system, control=True), Span(system), Span(markup.instructed, control=True)]
    spans: list[Span] = []
    for number, turn in enumerate(turns):
        spans += [Span(markup.between, control=True)] if number else first
        asking = markup.asking if number == len(turns) - 1 else markup.answered
        spans += [*_speech(turn.user, units), Span(asking, control=True)]
        if turn.assistant:
            spans += [Span(turn.assistant, answer=True), Span(markup.closing, answer=True, control=True)]
    if turns and turns[-1].assistant and markup.ending:
        spans.append(Span(markup.ending, control=True))
    return spans


def multiturn(transcript: str, translation: str, source: str, target: str) -> list[Turn]:
    """Speech → transcript → translation, in two turns; `st_multiturn`, which has no disputed space."""
    return [Turn(asr_prompt(source), transcript), Turn(_label(target), translation)]
