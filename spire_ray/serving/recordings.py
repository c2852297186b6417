"""A recording of any length → what is said in it: pieces are answered beside each other and told in order, in bounded memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spire_ray.inference.asking import Found, Wanted
from spire_ray.serving.decoding import Clip, Decoders
from spire_ray.serving.form import Form
from spire_ray.serving.hearing import Backend, Delta
from spire_ray.settings import SAMPLE_RATE
from spire_ray.text.languages import language

_AHEAD = 8
"""Pieces that are decoded and answered before those ahead of them have been told."""


@dataclass(frozen=True)
class Told:
    """The answers about a piece."""

    start: float
    end: float
    """Seconds in the recording."""
    found: Found
    speech: bool


class Units(NamedTuple):
    """The units of a recording, with what is left of its pieces' borders."""

    units: list[int]
    durations: list[int]
    """In frames."""
    starts: list[float]
    """Seconds in the recording."""
    seconds: float


class Recordings:
    """Audio files as they come, and the replicas that hear."""

    def __init__(self, backend: Backend, decoders: Decoders) -> None:
        self._backend, self._decoders = backend, decoders

    async def told(self, form: Form, wanted: Wanted, stream: bool) -> AsyncGenerator[Delta | Told]:
        """What is said, piece by piece: the deltas of a piece where it is to `stream`, then its answers."""
        queue: asyncio.Queue[_Piece | None] = asyncio.Queue(_AHEAD)
        begun: list[_Piece] = []

        async def begin() -> None:
            try:
                async with aclosing(self._decoders.clips(form.audio or b"", form.content_type)) as clips:
                    async for clip in clips:
                        piece = _Piece(self._backend, clip, wanted, stream)
                        begun.append(piece)
                        await queue.put(piece)
            finally:
                await queue.put(None)

        decoding = asyncio.create_task(begin())
        try:
            while (piece := await queue.get()) is not None:
                async for event in piece.events():
                    yield event
                begun.remove(piece)
            await decoding
        finally:
            decoding.cancel()
            for piece in begun:
                piece.task.cancel()

    async def units(self, form: Form, rate: float) -> Units:
        """The units of a recording, `rate` frames a second; silence has units, too."""
        units: list[int] = []
        durations: list[int] = []
        starts: list[float] = []
        seconds = 0.0
        async with aclosing(self._decoders.clips(form.audio or b"", form.content_type)) as clips:
            async for clip in clips:
                made, lengths = await self._backend.units(clip.samples)
                units += made.tolist()
                durations += lengths.tolist()
                begins = clip.start + (np.cumsum(lengths, dtype=np.int64) - lengths) / rate
                starts += [round(float(start), 3) for start in begins]
                seconds = clip.start + len(clip.samples) / SAMPLE_RATE
        return Units(units, durations, starts, round(seconds, 3))


async def spaced(events: AsyncGenerator[Delta | Told], wanted: Wanted) -> AsyncGenerator[Delta | Told]:
    """The same, where what parts a piece's text from the one before it stands at the head of its first delta."""
    begun: set[str] = set()
    after: set[str] = set()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Told):
                after = set(begun)
                yield event
                continue
            gap = " " if event.language in after and language(event.language or wanted.source).spaces else ""
            after.discard(event.language)
            begun.add(event.language)
            yield Delta(event.language, gap + event.text)


class _Piece:
    """A piece that is being answered."""

    def __init__(self, backend: Backend, clip: Clip, wanted: Wanted, stream: bool) -> None:
        self._clip = clip
        self._queue: asyncio.Queue[Delta | Found | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._work(backend, wanted, stream))

    async def events(self) -> AsyncGenerator[Delta | Told]:
        """Its deltas as they come, then its answers."""
        clip = self._clip
        while (event := await self._queue.get()) is not None:
            if isinstance(event, Delta):
                yield event
            else:
                yield Told(clip.start, clip.start + len(clip.samples) / SAMPLE_RATE, event, clip.speech)
        await self.task

    async def _work(self, backend: Backend, wanted: Wanted, stream: bool) -> None:
        try:
            if not self._clip.speech:  # models invent sentences for silence
                self._queue.put_nowait(Found())
                return
            async with aclosing(backend.answer(self._clip.samples, wanted, stream)) as events:
                async for event in events:
                    if isinstance(event, (Delta, Found)):
                        self._queue.put_nowait(event)
        finally:
            self._queue.put_nowait(None)
