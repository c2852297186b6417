"""The prompts of SPIRE, byte for byte in the form of the released templates (SpireLM, 2026).

A document is a list of spans; a span is text, or speech as units. Spans marked `answer` carry the loss in instruction
tuning. CPT documents are plain text; IT documents are ChatML turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spire_ray.text.languages import language

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Released chat template: no system turn, no BOS (SpireLM)."""


SPEECH = "\ufffc"
"""Where the units go in a prompt: the object replacement character."""


@dataclass(frozen=True)
class Span:
    """A piece of a document: exactly one of text and units."""

    text: str = ""
    units: np.ndarray | None = None
    answer: bool = False


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


# --- user turns (paper, Table 1; released templates) ----------------------------------------------------------------


def asr_prompt(source: str = "en") -> str:
    """Speech → transcript."""
    return f"Speech: {SPEECH}\n{language(source).name}:"


def st_prompt(target: str) -> str:
    """Speech → translation, directly."""
    return f"Speech: {SPEECH}\n{language(target).name}:"


def mt_prompt(text: str, source: str, target: str) -> str:
    """Text → translation, as an instruction."""
    source_name, target_name = language(source).name, language(target).name
    return f"Translate the following text from {source_name} to {target_name}.\n{source_name}: {text}\n{target_name}:"


def mt_completion(text: str, source: str, target: str) -> str:
    """Text → translation, in the form of continued pre-training and of few-shot prompts."""
    return f"{language(source).name}: {text}\n{language(target).name}:"


# --- documents ---------------------------------------------------------------------------------------------------


def completion(prompt: str, answer: str, units: np.ndarray | None = None) -> list[Span]:
    """A CPT document: prompt, one space, answer. The loss is on every token."""
    *head, last = _speech(prompt, units)
    return [*head, Span(f"{last.text} {answer}")]


def prompt(question: str, units: np.ndarray | None = None) -> list[Span]:
    """The prompt whose answer a CPT document holds."""
    return _speech(question, units)


def chat(turns: Sequence[Turn], units: np.ndarray | None = None) -> list[Span]:
    """An IT document: ChatML turns with the loss on each answer and the `<|im_end|>` that closes it.

    An empty answer in the last turn makes the prompt that asks for it. The units go where the first question wants them.
    """
    spans: list[Span] = []
    for turn in turns:
        spans += _speech(f"{IM_START}user\n{turn.user}{IM_END}\n{IM_START}assistant\n", units)
        if turn.assistant:
            spans += [Span(f"{turn.assistant}{IM_END}", answer=True), Span("\n")]
    return spans


def multiturn(transcript: str, translation: str, source: str, target: str) -> list[Turn]:
    """Speech → transcript → translation, in two turns."""
    return [Turn(asr_prompt(source), transcript), Turn(f"{language(target).name}:", translation)]
