"""Padded batches by Hugging Face's `generate`: the reference, which also searches by beams and samples.

A batch is what waits when the one before it has ended, so that requests that arrive one by one share batches, too.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from spire_ray.inference.engines import ENGINES, Asked, EngineDead, Limits, Stats, Token, require, require_room
from spire_ray.inference.engines._weights import Weights

_HANG_SECONDS = 600.0
"""A batch that takes longer is held to have hung."""


@dataclass(eq=False)
class _Request:
    """A prompt that waits for its answers."""

    prompt: list[int]
    asked: Asked
    """What a batch has in common."""
    loop: asyncio.AbstractEventLoop
    answers: asyncio.Future[list[list[Token]]] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = self.loop.create_future()

    def settle(self, answers: list[list[Token]] | Exception) -> None:
        """Hand the answers over, from another thread."""

        def done() -> None:
            if self.answers.done():
                return
            if isinstance(answers, Exception):
                self.answers.set_exception(answers)
            else:
                self.answers.set_result(answers)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(done)


class PaddedEngine:
    """Batches of prompts of similar length, one after the other, each until its longest answer has ended."""

    name = "padded"

    def __init__(self, folder: str, device: str = "cpu", at_once: int = 16) -> None:
        self.weights = Weights(folder, device)
        self.limits = Limits(self.weights.positions, at_once)
        self.stats = Stats()
        self._waiting: list[_Request] = []
        self._changed = threading.Condition()
        self._closed = False
        self._began: float | None = None
        self._thread = threading.Thread(target=self._run, name="padded-engine", daemon=True)
        self._thread.start()

    async def generate(self, prompt: Sequence[int], asked: Asked) -> AsyncGenerator[Token]:
        """See `Engine`; the tokens come together when the batch has ended."""
        if asked.beams > 1 or asked.n > 1:
            require(f"{self.name} with beams or several answers", logprobs=(asked.logprobs, False))
        if asked.n > 1 and asked.beams < asked.n:
            require(f"{self.name} with several answers", temperature=(bool(asked.temperature), True))
        require_room(self.limits, prompt, asked.max_new_tokens)
        self.check()
        request = _Request([int(i) for i in prompt], asked, asyncio.get_running_loop())
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        try:
            answers = await request.answers
        finally:
            with self._changed:
                if request in self._waiting:
                    self._waiting.remove(request)
        for answer in answers:
            for token in answer:
                yield token

    async def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """See `Engine`."""
        require_room(self.limits, prompt, len(continuation))
        return await asyncio.to_thread(self.weights.score, prompt, continuation)

    def check(self) -> None:
        """See `Engine`."""
        if not self._thread.is_alive():
            raise EngineDead("the thread of the engine has ended")
        if self._began is not None and time.monotonic() - self._began > _HANG_SECONDS:
            raise EngineDead(f"no answer for {_HANG_SECONDS:.0f} s")

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """The thread: batch after batch."""
        while batch := self._take():
            self._began = time.monotonic()
            try:
                for request, answers in zip(batch, self._answer(batch), strict=True):
                    request.settle(answers)
            except Exception as error:  # the fault of these requests, such as memory that does not suffice; others go on
                for request in batch:
                    request.settle(RuntimeError(f"generation failed: {error}"))
            self._began = None
            self.stats.running = 0
        for request in self._waiting:
            request.settle(EngineDead("the engine was closed"))

    def _take(self) -> list[_Request]:
        """The next batch: of those that ask as the first one does, the ones nearest to it in length. Empty at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            first = self._waiting[0]
            alike = [request for request in self._waiting if request.asked == first.asked]
            alike.sort(key=lambda request: len(request.prompt))
            place = alike.index(first)
            start = max(0, min(place, len(alike) - self.limits.at_once))
            batch = alike[start : start + self.limits.at_once]
            self._waiting = [request for request in self._waiting if request not in batch]
            self.stats.waiting, self.stats.running = len(self._waiting), len(batch)
            return batch

    @torch.inference_mode()
    def _answer(self, batch: list[_Request]) -> list[list[list[Token]]]:
        """The answers of a batch."""
        asked = batch[0].asked
        longest = max(len(request.prompt) for request in batch)
        inputs = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for row, request in enumerate(batch):
            inputs[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
            mask[row, longest - len(request.prompt) :] = 1
        sampling: dict[str, Any] = {"do_sample": False}
        if asked.temperature:
            sampling = {"do_sample": True, "temperature": asked.temperature, "top_k": 0, "top_p": 1.0}
        generated: Any = self.weights.model.generate(
            input_ids=inputs.to(self.weights.device),
            attention_mask=mask.to(self.weights.device),
            max_new_tokens=asked.max_new_tokens,
            num_beams=asked.beams,
            num_return_sequences=asked.n,
            eos_token_id=sorted(asked.stops) or None,
            pad_token_id=min(asked.stops, default=0),
            return_dict_in_generate=True,
            output_logits=asked.logprobs,
            **sampling,
        )
        rows = generated.sequences[:, longest:]
        scores: list[list[float | None]] = [[None] * rows.shape[1] for _ in rows]
        if asked.logprobs:
            scores = _logprobs(generated.logits, rows)
        made = [until(ids, score, asked.stops) for ids, score in zip(rows.tolist(), scores, strict=True)]
        self.stats.prompt_tokens += sum(len(request.prompt) for request in batch)
        self.stats.tokens += sum(map(len, made))
        self.stats.steps += max((len(answer) for answer in made), default=0)
        return [
            [
                [token._replace(candidate=i) for token in answer]
                for i, answer in enumerate(made[row * asked.n : (row + 1) * asked.n])
            ]
            for row in range(len(batch))
        ]


def _logprobs(logits: Sequence[torch.Tensor], rows: torch.Tensor) -> list[list[float | None]]:
    """Of the chosen tokens; logits [tokens] of [rows, vocabulary]."""
    chosen = [torch.log_softmax(step.float(), -1).gather(1, rows[:, i : i + 1])[:, 0] for i, step in enumerate(logits)]
    found: list[list[float | None]] = torch.stack(chosen, 1).tolist()
    return found


def until(ids: Sequence[int], scores: Sequence[float | None], stops: Iterable[int]) -> list[Token]:
    """Tokens before the first stop."""
    ends = set(stops)
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return [Token(token, score) for token, score in zip(ids[:end], scores[:end], strict=True)]


ENGINES.register("padded", PaddedEngine)
