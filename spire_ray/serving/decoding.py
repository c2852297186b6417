"""Audio of anyone → pieces, in processes of their own: a file that takes too long or too much ends its process alone."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from spire_ray.serving.refusal import Refusal

_MOST = 8
"""Processes: a long recording keeps one while it is answered."""
_KEPT = 2
"""Of them, kept for the next request; one takes half a second to start."""
_WAIT = 1.0
"""Seconds in which none has become free until another one is started: those at work have long recordings."""
_PATIENCE = 30.0
"""Seconds for a piece."""
_READ_LIMIT = 1 << 20
_STATUS = {"undecodable_audio": 415, "audio_too_long": 400, "audio_too_large": 400}


@dataclass(frozen=True)
class Clip:
    """Part of a recording that the model hears at once."""

    start: float
    """Seconds in the recording."""
    samples: np.ndarray
    """int16 or float32 at 16 kHz."""
    speech: bool
    """Whether the speech gate let it through."""


class Decoders:
    """Processes that decode."""

    def __init__(self, longest: float, most: float) -> None:
        """`longest` seconds make a piece, `most` a recording."""
        self._longest, self._most = longest, most
        self._idle: asyncio.LifoQueue[asyncio.subprocess.Process] = asyncio.LifoQueue()
        self._alive = self._waiting = 0
        self._freed = time.monotonic()

    async def clips(self, data: bytes, content_type: str = "") -> AsyncGenerator[Clip]:
        """The pieces of a file in order, read as they are taken. Raises Refusal for what cannot be decoded."""
        process = await self._taken()
        while process.returncode is not None:  # ended while it waited
            self._alive -= 1
            process = await self._taken()
        done = False
        sending = asyncio.create_task(self._send(process, data, content_type))
        try:
            while (clip := await self._next(process)) is not None:
                yield clip
            done = True
        except Refusal as refusal:
            done = refusal.code != "decoding_failed"
            raise
        finally:
            sending.cancel()
            self._freed = time.monotonic()
            if done and (self._waiting or self._alive <= _KEPT):
                self._idle.put_nowait(process)
            else:
                await self._end(process)

    async def close(self) -> None:
        """End the processes that wait."""
        while not self._idle.empty():
            await self._end(self._idle.get_nowait())

    async def _taken(self) -> asyncio.subprocess.Process:
        """A process that has nothing to do, waited for a little before another one is started."""
        self._waiting += 1
        try:
            while self._idle.empty() and (
                self._alive >= _MOST or (self._alive >= _KEPT and time.monotonic() < self._freed + _WAIT)
            ):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT):
                        return await self._idle.get()
            if not self._idle.empty():
                return self._idle.get_nowait()
        finally:
            self._waiting -= 1
        self._alive += 1
        try:
            return await self._new()
        except BaseException:
            self._alive -= 1
            raise

    async def _send(self, process: asyncio.subprocess.Process, data: bytes, content_type: str) -> None:
        assert process.stdin is not None
        head = {"bytes": len(data), "content_type": content_type, "longest": self._longest, "most": self._most}
        with contextlib.suppress(ConnectionError):
            process.stdin.write(json.dumps(head).encode() + b"\n")
            process.stdin.write(data)
            await process.stdin.drain()

    async def _next(self, process: asyncio.subprocess.Process) -> Clip | None:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE):
                head = json.loads(await process.stdout.readline())
                if "end" in head:
                    self._check(head)
                    return None
                kind = np.dtype(head["type"])
                content = await process.stdout.readexactly(head["samples"] * kind.itemsize)
        except TimeoutError:
            message = f"the file cannot be decoded: it takes longer than {_PATIENCE:g} s for a piece"
            raise Refusal(400, message, "file", "decoding_failed") from None
        except (ValueError, asyncio.IncompleteReadError):  # the process has ended
            message = "the file cannot be decoded: its decoder ended"
            raise Refusal(400, message, "file", "decoding_failed") from None
        return Clip(head["start"], np.frombuffer(content, kind), head["speech"])

    def _check(self, end: dict[str, str]) -> None:
        if "error" not in end:
            return
        named = "the audio is too long" if end["code"] == "audio_too_long" else "the file cannot be decoded"
        raise Refusal(_STATUS[end["code"]], f"{named}: {end['error']}", "file", end["code"])

    async def _new(self) -> asyncio.subprocess.Process:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "spire_ray.serving.decoder",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_READ_LIMIT,
            env={**os.environ, **threads},
            start_new_session=True,  # so that what it has started, such as ffmpeg, ends with it
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._alive -= 1
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
