"""A conversation with text and speech in any turn, as the chat format of a model has it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from spire_ray.text.chat import ChatFormat
from spire_ray.text.prompts import Span


class Message(NamedTuple):
    """One turn: stretches of text and of speech as units, in order, with nothing put between them."""

    role: Literal["system", "user", "assistant"]
    content: Sequence[str | np.ndarray]


def conversation(messages: Sequence[Message], markup: ChatFormat) -> list[Span]:
    """The prompt that asks for the next answer: the spans that `prompts.chat` makes of the same turns.

    Raises ValueError for roles that do not take turns, and for a system turn that the format has no form for.
    """
    system = messages[0] if messages and messages[0].role == "system" else None
    turns = messages[1:] if system else messages
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if [turn.role for turn in turns] != expected:
        raise ValueError("messages: user and assistant must take turns, from a user's to a user's, after at most one system turn")
    spans = [Span(markup.opening, control=True)]
    if system:
        if not markup.instructed:
            raise ValueError("messages: the chat format of this model has no system turn")
        spans = [Span(markup.system, control=True), *_content(system, markup), Span(markup.instructed, control=True)]
    for number, turn in enumerate(turns):
        if turn.role == "assistant":
            spans += [*_content(turn, markup), Span(markup.closing + markup.between, control=True)]
        else:
            last = number == len(turns) - 1
            spans += [*_content(turn, markup), Span(markup.asking if last else markup.answered, control=True)]
    return spans


def _content(message: Message, markup: ChatFormat) -> list[Span]:
    spans = [Span(part) if isinstance(part, str) else Span(units=part) for part in message.content]
    if markup.trims and spans:
        if spans[0].units is None:
            spans[0] = Span(spans[0].text.lstrip())
        if spans[-1].units is None:
            spans[-1] = Span(spans[-1].text.rstrip())
    return [span for span in spans if span.units is not None or span.text]
