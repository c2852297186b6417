"""The queue of the speech encoder: a batch is what waits when the one before it has ended, up to a minute of audio."""

import asyncio
import time

import numpy as np

from spire_ray.settings import SAMPLE_RATE
from spire_ray.units.labeler import Labeler, Units

_BATCH_SECONDS = 60
_HANG_SECONDS = 120.0
"""A batch that takes longer is held to have hung."""


class Encoding:
    """Waveforms → units, many at once."""

    def __init__(self, labeler: Labeler) -> None:
        self._labeler = labeler
        self._waiting: list[tuple[np.ndarray, asyncio.Future[Units]]] = []
        self._running: asyncio.Task[None] | None = None
        self._began: float | None = None
        self._batches = self._clips = 0

    async def __call__(self, samples: np.ndarray) -> Units:
        """Deduplicated units uint16 [n] and their durations; none for a clip shorter than one frame."""
        if len(samples) < self._labeler.encoder.shortest:
            return np.zeros(0, np.uint16), np.zeros(0, np.uint16)
        made: asyncio.Future[Units] = asyncio.get_running_loop().create_future()
        self._waiting.append((samples if samples.flags.writeable else samples.copy(), made))  # PyTorch wants its own
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await made

    def stats(self) -> dict[str, float]:
        """Clips, batches, and seconds of audio that wait."""
        waiting = sum(len(samples) for samples, _ in self._waiting) / SAMPLE_RATE
        return {"encoder_clips": self._clips, "encoder_batches": self._batches, "encoder_waiting_seconds": waiting}

    def check(self) -> None:
        """Raise RuntimeError for a batch that does not end."""
        if self._began is not None and time.monotonic() - self._began > _HANG_SECONDS:
            raise RuntimeError(f"the speech encoder has not answered for {_HANG_SECONDS:.0f} s")

    async def _run(self) -> None:
        while batch := self._take():
            self._began = time.monotonic()
            try:
                found = await asyncio.to_thread(self._labeler, [samples for samples, _ in batch], deduplicate=True)
                for (_, made), units in zip(batch, found, strict=True):
                    if not made.done():
                        made.set_result(units)
            except Exception as error:  # the fault of these clips alone
                for _, made in batch:
                    if not made.done():
                        made.set_exception(error)
            self._began = None

    def _take(self) -> list[tuple[np.ndarray, asyncio.Future[Units]]]:
        """The next batch, without those that nobody waits for any more; a longer clip stands alone."""
        self._waiting = [(samples, made) for samples, made in self._waiting if not made.done()]
        seconds, number = 0.0, 0
        for samples, _ in self._waiting:
            seconds += len(samples) / SAMPLE_RATE
            if number and seconds > _BATCH_SECONDS:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        self._batches += bool(batch)
        self._clips += len(batch)
        return batch
