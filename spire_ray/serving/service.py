"""What the routes share: the model behind them, the decoders, the count of what is asked."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from spire_ray.serving.decoding import Decoders
from spire_ray.serving.formats import sse
from spire_ray.serving.hearing import Backend, Description
from spire_ray.serving.metrics import Metrics
from spire_ray.serving.recordings import Recordings
from spire_ray.serving.refusal import Refusal, error_object
from spire_ray.settings import ServeSettings

_HEALTH_SECONDS = 10.0
"""That a replica may take to say how it is."""


class Service:
    """One ingress."""

    def __init__(self, settings: ServeSettings, backend: Backend) -> None:
        self.settings, self.backend, self.metrics = settings, backend, Metrics()
        self.created = int(time.time())
        self.names = tuple(dict.fromkeys((settings.name, *settings.aliases)))
        self._description: Description | None = None
        self._describing = asyncio.Lock()
        self._recordings: Recordings | None = None

    async def describe(self) -> Description:
        """What the model is; asked once, by the first of those that come together."""
        async with self._describing:
            if self._description is None:
                found = await self.backend.describe()
                self.decoders = Decoders(found.longest_seconds, 60.0 * self.settings.max_audio_minutes)
                self._recordings = Recordings(self.backend, self.decoders)
                self._description = found
        return self._description

    @property
    def recordings(self) -> Recordings:
        """Once the model has been described."""
        assert self._recordings is not None
        return self._recordings

    def check_model(self, name: str) -> None:
        """Raise Refusal for a model that is not this one; one that is not named is."""
        if name and name not in self.names:
            message = f"model {name[:80]!r} does not exist; this server has {', '.join(map(repr, self.names))}"
            raise Refusal(404, message, "model", "model_not_found")

    async def health(self) -> None:
        """Raise Refusal unless a replica answers."""
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                self.metrics.replica(await self.backend.stats())
        except Exception as error:
            reason = "no replica answers" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
            raise Refusal(503, f"the model is not ready: {reason}", code="not_ready") from None

    async def streamed(self, events: AsyncGenerator[str]) -> StreamingResponse:
        """Server-sent events. What is refused before the first one is a refusal, later it is the last event."""
        began = time.monotonic()
        try:
            first = await anext(events)
        except BaseException:
            await events.aclose()
            raise
        self.metrics.first.observe(time.monotonic() - began)

        async def rest() -> AsyncGenerator[str]:
            yield first
            try:
                async with aclosing(events):
                    async for event in events:
                        yield event
            except HTTPException as error:
                code = getattr(error, "code", None)
                yield sse({"type": "error", **error_object(error.status_code, error.detail, None, code)})
            except Exception as error:
                yield sse({"type": "error", **error_object(500, f"the server failed: {type(error).__name__}")})

        return StreamingResponse(rest(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
