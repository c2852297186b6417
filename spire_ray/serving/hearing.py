"""A replica of the model: samples in; units, text and answers out. Speech encoder and language model share its process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from spire_ray.inference.asking import Found, Wanted, ask
from spire_ray.inference.conversation import Message, conversation
from spire_ray.inference.generate import Answer, wait_for
from spire_ray.serving.encoding import Encoding
from spire_ray.settings import SAMPLE_RATE, ServeSettings
from spire_ray.text.record import Record


@dataclass(frozen=True)
class Description:
    """What those who ask need to know of a model."""

    record: Record
    longest_seconds: float
    """Speech that is put to it at once."""
    frame_rate: float
    """Of units before runs are joined, in Hz."""
    codebook: str
    """Hash of the codebook, which says what the units mean."""
    max_new_tokens: int


class Delta(NamedTuple):
    """The next stretch of a text."""

    language: str
    """Into which it is translated; empty for the transcript, and in a chat."""
    text: str


Event = Delta | Found | Answer


class Backend(Protocol):
    """A replica, in this process or elsewhere."""

    async def describe(self) -> Description:
        """What it is."""
        ...

    async def units(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deduplicated units and their durations in frames."""
        ...

    def answer(self, samples: np.ndarray, wanted: Wanted, stream: bool) -> AsyncGenerator[Event]:
        """What is found out about a piece: deltas where it is to `stream`, then Found."""
        ...

    def chat(self, messages: Sequence[Message], most: int, stream: bool) -> AsyncGenerator[Event]:
        """The next answer of a conversation, whose speech is given as samples: deltas, then an Answer."""
        ...

    async def stats(self) -> dict[str, float]:
        """What its engine and encoder have done."""
        ...


class Hearing:
    """See `Backend`."""

    def __init__(self, settings: ServeSettings) -> None:
        from spire_ray.inference.speech_to_text import SpeechToText

        self._model = SpeechToText.from_pretrained(
            settings.model,
            device="cuda" if settings.gpus_per_replica else "cpu",
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.max_batch_size,
            engine=settings.engine,
            accept=settings.license.accept,
        )
        self._encoding = Encoding(self._model.labeler)
        self.audio_in_work = 0.0
        """Seconds of it that are not answered yet."""
        self._warm_up()

    async def describe(self) -> Description:
        """See `Backend`."""
        model = self._model
        identity = model.labeler.fingerprint.identity
        return Description(
            model.record, model.longest_seconds, identity.frame_rate, identity.codebook, model.generator.max_new_tokens
        )

    async def units(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Backend`."""
        with self._in_work(samples):
            return await self._encoding(samples)

    async def answer(self, samples: np.ndarray, wanted: Wanted, stream: bool) -> AsyncGenerator[Event]:
        """See `Backend`."""

        async def work(said: Callable[[str, str], None] | None) -> Found:
            units, _ = await self._encoding(samples)
            return await ask(self._model.generator, units, wanted, said)

        with self._in_work(samples):
            async for event in _told(work, stream):
                yield event

    async def chat(self, messages: Sequence[Message], most: int, stream: bool) -> AsyncGenerator[Event]:
        """See `Backend`."""
        generator = self._model.generator

        async def work(said: Callable[[str, str], None] | None) -> Answer:
            heard = [
                Message(role, [part if isinstance(part, str) else (await self._encoding(part))[0] for part in content])
                for role, content in messages
            ]
            prompt = conversation(heard, generator.tokenizer.chat)
            return await generator.answer(prompt, (lambda text: said("", text)) if said else None, lines=True, most=most)

        with self._in_work(*(part for _, content in messages for part in content if not isinstance(part, str))):
            async for event in _told(work, stream):
                yield event

    async def stats(self) -> dict[str, float]:
        """See `Backend`."""
        engine = {f"engine_{name}": float(value) for name, value in asdict(self._model.generator.engine.stats).items()}
        return {**engine, **self._encoding.stats(), "audio_in_work_seconds": self.audio_in_work}

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces a replica when this raises."""
        self._model.generator.engine.check()
        self._encoding.check()

    def close(self) -> None:
        """End the engine."""
        self._model.generator.engine.close()

    @contextmanager
    def _in_work(self, *clips: np.ndarray) -> Iterator[None]:
        seconds = sum(len(samples) for samples in clips) / SAMPLE_RATE
        self.audio_in_work += seconds
        try:
            yield
        finally:
            self.audio_in_work -= seconds

    def _warm_up(self) -> None:
        """One answer, before any is waited for."""
        noise = (np.random.default_rng(0).standard_normal(int(16_000 * min(2.0, self._model.longest_seconds))) / 8).astype(
            np.float32
        )
        [(units, _)] = self._model.labeler([noise], deduplicate=True)
        wait_for(ask(self._model.generator, units, Wanted(next(iter(self._model.record.heard), "en"))))


async def _told(
    work: Callable[[Callable[[str, str], None] | None], Coroutine[Any, Any, Found | Answer]], stream: bool
) -> AsyncGenerator[Event]:
    """The deltas of some work while it goes on, then its result; closing it ends the work."""
    if not stream:
        yield await work(None)
        return
    queue: asyncio.Queue[Delta | None] = asyncio.Queue()
    task = asyncio.ensure_future(work(lambda language, text: queue.put_nowait(Delta(language, text))))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (delta := await queue.get()) is not None:
            yield delta
        yield await task
    finally:
        task.cancel()
