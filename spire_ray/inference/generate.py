"""Prompts → texts with any model folder: an engine with its tokenizer, asked one prompt at a time or many at once."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, Protocol, TypeVar

import numpy as np

from spire_ray.core import copies
from spire_ray.inference.engines import ENGINES, Asked, Engine
from spire_ray.text import prompts
from spire_ray.text.prompts import Span
from spire_ray.text.tokenizer import SpeechTokenizer

T = TypeVar("T")
_UNFINISHED = "\ufffd"
"""What the bytes of half a character are shown as."""


class Generator(Protocol):
    """Continues prompts greedily."""

    tokenizer: SpeechTokenizer

    def __call__(self, prompts: Sequence[Sequence[Span]]) -> list[str]:
        """One text for each prompt, in order."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    logprob: float = 0.0
    """Sum of the logarithms of the probabilities of its tokens; 0 where they were not asked for."""
    prompt: int = 0
    """Tokens of its prompt."""


class EngineGenerator:
    """An engine that is asked in text; a text ends at EOS, the end of its turn or of its line."""

    def __init__(self, engine: Engine, tokenizer: SpeechTokenizer, max_new_tokens: int = 256) -> None:
        self.engine, self.tokenizer, self.max_new_tokens = engine, tokenizer, max_new_tokens
        self.stops = tokenizer.stops | newlines(tokenizer)

    @classmethod
    def from_pretrained(
        cls, folder: str, engine: str = "padded", *, device: str = "cpu", max_new_tokens: int = 256, batch_size: int = 16
    ) -> "EngineGenerator":
        """An engine by its name, with the model of a folder, local or `s3://…`.

        Raises ValueError for an unknown engine, and for answers so long that they leave no room for a prompt.
        """
        load = ENGINES[engine]
        local = copies.localize(folder)
        generator = cls(load(local, device, batch_size), SpeechTokenizer(local), max_new_tokens)
        if generator.longest_prompt < 1:
            positions = generator.engine.limits.positions
            raise ValueError(
                f"max_new_tokens={max_new_tokens}: leaves no room for a prompt in the {positions} positions of {folder}"
            )
        return generator

    @property
    def longest_prompt(self) -> int:
        """Tokens a prompt may have, so that an answer still fits into the model's positions."""
        return self.engine.limits.positions - self.max_new_tokens

    def __call__(self, prompts: Sequence[Sequence[Span]]) -> list[str]:
        """See `Generator`. Raises ValueError for a prompt that leaves no room for an answer."""
        return [self.tokenizer.decode(ids) for ids in self.continued(self.tokenizer.asked(prompts))]

    def continued(self, prompts: Sequence[np.ndarray], beams: int = 1) -> list[list[int]]:
        """Token ids that follow each prompt, up to the first stop. Raises as `Engine.generate` does."""
        if longest := max((len(ids) for ids in prompts if len(ids) > self.longest_prompt), default=0):
            raise ValueError(f"a prompt of {longest} tokens is longer than {self.longest_prompt}: cut the audio")

        async def all_of_them() -> list[list[int]]:
            return await asyncio.gather(*(self._ids(ids.tolist(), beams) for ids in prompts))

        return wait_for(all_of_them())

    def likelihoods(self, prompt: Sequence[Span], answers: Sequence[str]) -> list[float]:
        """The natural logarithm of the probability of each of some answers to a prompt, its end included.

        Raises as `Engine.score` does, and as the tokenizer for what cannot be asked.
        """
        documents = [prompt, *(prompts.answered(prompt, answer, self.tokenizer.chat) for answer in answers)]
        asked, *answered = (ids.tolist() for ids in self.tokenizer.asked(documents))
        if not prompt[-1].control:  # a chat closes its answers itself
            answered = [[*ids, self.tokenizer.end] for ids in answered]
        # where the last token of a prompt goes on into an answer, all begin before it
        given = min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asked, ids, strict=False))) for ids in answered)

        async def all_of_them() -> list[list[float]]:
            return await asyncio.gather(*(self.engine.score(ids[:given], ids[given:]) for ids in answered))

        return [sum(each) for each in wait_for(all_of_them())]

    async def answer(
        self,
        prompt: Sequence[Span],
        said: Callable[[str], None] | None = None,
        *,
        lines: bool = False,
        most: int = 0,
        logprobs: bool = False,
    ) -> Answer:
        """The answer to one prompt; `said` is called with each new stretch of its text.

        With `lines` it may have several; it has `most` tokens at most, by default as many as the generator allows.

        Raises as `Engine.generate` does, and as the tokenizer for what cannot be asked.
        """
        [asked] = self.tokenizer.asked([prompt])
        stops = self.tokenizer.stops if lines else self.stops
        tokens: list[int] = []
        total, shown = 0.0, ""
        stream = self.engine.generate(asked.tolist(), Asked(most or self.max_new_tokens, frozenset(stops), logprobs=logprobs))
        try:
            async for token in stream:
                tokens.append(token.id)
                total += token.logprob or 0.0
                text = self.tokenizer.decode(tokens) if said else ""
                if said and len(text) > len(shown) and text.startswith(shown) and not text.endswith(_UNFINISHED):
                    said(text[len(shown) :])
                    shown = text
        finally:
            await stream.aclose()
        text = self.tokenizer.decode(tokens)
        if said and text.startswith(shown) and text != shown:
            said(text[len(shown) :])
        return Answer(text, tuple(tokens), total, len(asked))

    async def _ids(self, prompt: list[int], beams: int) -> list[int]:
        asked = Asked(self.max_new_tokens, frozenset(self.stops), beams=beams)
        return [token.id async for token in self.engine.generate(prompt, asked)]


class HuggingFaceGenerator(EngineGenerator):
    """Padded batches: the reference."""

    def __init__(self, folder: str, *, device: str = "cpu", max_new_tokens: int = 256, batch_size: int = 16) -> None:
        made = EngineGenerator.from_pretrained(
            folder, "padded", device=device, max_new_tokens=max_new_tokens, batch_size=batch_size
        )
        super().__init__(made.engine, made.tokenizer, max_new_tokens)


def newlines(tokenizer: SpeechTokenizer) -> set[int]:
    """Tokens that are a line break and nothing else."""
    ((ids, _),) = tokenizer.encode([[Span("\n")]])
    return {int(ids[-1])}


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own: a notebook's thread has one that is busy."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="generation", daemon=True).start()
    return loop


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work, for callers that are not asynchronous."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
