"""Every prompt of SPIRE, byte for byte: of its training (paper, Table 1) and of its inference (SpireLM's templates).

A document is a list of spans; a span is text, or speech as units. Spans marked `answer` carry the loss in instruction
tuning. CPT documents are plain text; IT documents are turns in the chat format of the model.

Forms have names (`STYLES`). SPIRE's sources disagree about two spaces: `spire-2026` is the form of the released templates,
and the default; `spire-2025` is that of the time of the paper. A plugin registers others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spire_ray.core.registry import Registry
from spire_ray.text.chat import CHATML, ChatFormat
from spire_ray.text.languages import language

SPEECH = "\ufffc"
"""Where the units go in a prompt: the object replacement character."""


@dataclass(frozen=True)
class Style:
    """A form of the prompts, as templates: `{source}` and `{target}` are names of languages, `{speech}` is where units go.

    The defaults are those of the released templates.
    """

    asr_completion: str = "Speech: {speech}\n{source}:"
    """Speech → transcript, as a document of continued pre-training has it."""
    mt_completion: str = "{source}: {text}\n{target}:"
    """Text → translation, the same; `mt_icl` of SpireLM."""
    asr: str = "Speech: {speech}\n{source}:"
    """Speech → transcript, as a question; `asr_simple`."""
    st: str = "Speech: {speech}\n{target}:"
    """Speech → translation, directly; `st_simple`."""
    mt: str = "Translate the following text from {source} to {target}.\n{source}: {text}\n{target}:"
    """Text → translation, as an instruction; `mt_zero`."""
    turns: tuple[str, str] = ("Speech: {speech}\n{source}:", "{target}:")
    """Speech → transcript → translation, in two turns; `st_multiturn`."""


STYLES: Registry[Style] = Registry("prompts")
RELEASED = STYLES.register("spire-2026", Style())
STYLES.register(
    "spire-2025",
    Style(
        asr_completion="Speech:{speech}\n{source}:",  # as Table 1 of the paper prints it
        asr="Speech: {speech}\n {source}:",
        st="Speech: {speech}\n {target}:",
    ),
)


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


def _filled(template: str, text: str = "", source: str = "", target: str = "") -> str:
    names = {field: language(code).name if code else "" for field, code in (("source", source), ("target", target))}
    return template.format(speech=SPEECH, text=text, **names)


# --- what a CPT document begins with --------------------------------------------------------------------------------


def asr_completion(source: str = "en", style: Style = RELEASED) -> str:
    """Speech → transcript, as continued pre-training has it."""
    return _filled(style.asr_completion, source=source)


def mt_completion(text: str, source: str, target: str, style: Style = RELEASED) -> str:
    """Text → translation, as continued pre-training has it."""
    return _filled(style.mt_completion, text, source, target)


# --- questions ------------------------------------------------------------------------------------------------------


def asr_prompt(source: str = "en", style: Style = RELEASED) -> str:
    """Speech → transcript."""
    return _filled(style.asr, source=source)


def st_prompt(target: str, style: Style = RELEASED) -> str:
    """Speech → translation, directly."""
    return _filled(style.st, target=target)


def mt_prompt(text: str, source: str, target: str, style: Style = RELEASED) -> str:
    """Text → translation, as an instruction."""
    return _filled(style.mt, text, source, target)


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


def answered(asked: Sequence[Span], answer: str, markup: ChatFormat = CHATML) -> list[Span]:
    """A prompt with an answer, as the documents that are trained have them."""
    *head, last = asked
    if last.control:
        return [
            *asked,
            Span(answer.strip() if markup.trims else answer, answer=True),
            Span(markup.closing, answer=True, control=True),
        ]
    return [*head, Span(f"{last.text} {answer}")]


def multiturn(transcript: str, translation: str, source: str, target: str, style: Style = RELEASED) -> list[Turn]:
    """Speech → transcript → translation, in two turns."""
    first, second = style.turns
    return [Turn(_filled(first, source=source), transcript), Turn(_filled(second, source=source, target=target), translation)]
