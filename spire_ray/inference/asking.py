"""One piece of speech → its transcript and its translations, of any engine, with one prefill for all languages.

Speech stands first in every prompt about it, and an engine shares what it has computed once it is there, not before: so the
first question is asked alone until its first token has come, then all the others.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from spire_ray.inference.generate import Answer, EngineGenerator
from spire_ray.inference.tasks import in_turns, spoken, written
from spire_ray.text.prompts import Span
from spire_ray.text.record import Mode, Record

Said = Callable[[str, str], None]
"""Called with a language code, empty for the transcript, and the next stretch of its text."""


@dataclass(frozen=True)
class Wanted:
    """What is to be found out about speech."""

    source: str
    """ISO 639-1 code of what is spoken."""
    targets: tuple[str, ...] = ()
    mode: Mode | None = None
    """None: as the model was trained, for each language."""
    transcript: bool = True
    logprobs: bool = False

    def check(self, record: Record) -> None:
        """Raise ValueError for a language or a direction that the model was not trained on."""
        for target in self.targets:
            record.require_direction(self.source, target)
        if self.needs_transcript(record):
            record.require_direction(self.source)

    def modes(self, record: Record) -> dict[str, Mode]:
        """How each translation is asked for."""
        return {target: self.mode or record.mode(self.source, target) for target in self.targets}

    def needs_transcript(self, record: Record) -> bool:
        """Whether the transcript is asked for, or needed on the way."""
        return self.transcript or not self.targets or set(self.modes(record).values()) != {"direct"}


@dataclass(frozen=True)
class Found:
    """What a model says of a piece."""

    transcript: Answer | None = None
    translations: dict[str, Answer] = field(default_factory=dict)


async def ask(generator: EngineGenerator, units: np.ndarray, wanted: Wanted, said: Said | None = None) -> Found:
    """The answers about a piece of speech; see `EngineGenerator.answer` for what it raises."""
    tokenizer, source = generator.tokenizer, wanted.source
    modes = wanted.modes(tokenizer.record)
    first = [target for target in wanted.targets if modes[target] == "direct"]
    later = [target for target in wanted.targets if modes[target] != "direct"]
    shown = wanted.transcript or not wanted.targets
    questions = {target: spoken(tokenizer, units, to=target) for target in first}
    if wanted.needs_transcript(tokenizer.record):
        questions = {"": spoken(tokenizer, units, source), **questions}
    answers = await _shared(generator, questions, wanted.logprobs, said, () if shown else ("",))
    transcript = answers.pop("", None)
    if later and transcript is not None:
        text = transcript.text
        questions = {
            target: in_turns(tokenizer, units, text, source, target)
            if modes[target] == "two_turns"
            else written(tokenizer, text, source, target)
            for target in later
        }
        answers |= await _all(generator, questions, wanted.logprobs, said)
    return Found(transcript if shown else None, {target: answers[target] for target in wanted.targets})


async def _shared(
    generator: EngineGenerator, questions: dict[str, list[Span]], logprobs: bool, said: Said | None, silent: Sequence[str]
) -> dict[str, Answer]:
    """Questions that begin with the same speech: the first one until its first text, then the others beside it."""
    (name, prompt), *others = questions.items()
    begun = asyncio.Event()

    def heard(text: str) -> None:
        begun.set()
        if said and name not in silent:
            said(name, text)

    leading = asyncio.ensure_future(generator.answer(prompt, heard, logprobs=logprobs))
    leading.add_done_callback(lambda _: begun.set())
    try:
        if others:
            await begun.wait()
        rest = await _all(generator, dict(others), logprobs, said)
        return {name: await leading, **rest}
    finally:
        leading.cancel()


async def _all(
    generator: EngineGenerator, questions: dict[str, list[Span]], logprobs: bool, said: Said | None
) -> dict[str, Answer]:
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(generator.answer(prompt, partial(said, name) if said else None, logprobs=logprobs))
            for name, prompt in questions.items()
        }
    return {name: task.result() for name, task in tasks.items()}
