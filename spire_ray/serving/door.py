"""What every request passes: paths as clients write them, keys, the size and the pace of its body, its deadline, its count."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spire_ray.serving import keys
from spire_ray.serving.metrics import Metrics
from spire_ray.serving.refusal import Refusal, ending, late, overloaded, response

_MEGABYTE = 1 << 20
_BESIDE_THE_FILE = _MEGABYTE
"""Bytes of a request that are not the file: the other fields and the borders between them."""
_BODY_SECONDS = 60.0
"""For the whole body: who sends slower than that holds a place that others need."""
_VERSIONED = ("/audio/", "/chat/", "/models", "/realtime", "/units")
"""Paths that are understood without `/v1` before them."""
_KEY_PROTOCOL = "openai-insecure-api-key."
"""In this subprotocol OpenAI's clients in browsers send a key."""
ROUTES = {
    "/v1/audio/transcriptions": "POST",
    "/v1/audio/translations": "POST",
    "/v1/chat/completions": "POST",
    "/v1/units": "POST",
    "/v1/models": "GET",
    "/health": "GET",
    "/ready": "GET",
    "/metrics": "GET",
    "/docs": "GET",
    "/openapi.json": "GET",
    "/": "GET",
}


class Door:
    """ASGI middleware around the application."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, known: tuple[str, ...], most_bytes: int, most_requests: int, deadline: float
    ) -> None:
        self._app, self._metrics, self._keys = app, metrics, known
        self._most_bytes, self._most_requests, self._deadline = most_bytes, most_requests, deadline
        self._in_work = self._connections = 0
        self._closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one connection of the realtime route."""
        if scope["type"] == "websocket":
            await self._connection(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = _path(scope["path"]), scope["method"]
        scope = {**scope, "path": path, "raw_path": path.encode(), "method": "GET" if method == "HEAD" else method}
        answer = _Answer(send, head=method == "HEAD")
        began = time.monotonic()
        route = path if path in ROUTES else "/v1/models/{model}" if path.startswith("/v1/models/") else "other"
        try:
            if method == "OPTIONS":
                allowed = f"{ROUTES.get(path, 'GET').replace('GET', 'GET, HEAD')}, OPTIONS"
                await answer.empty(204, {"Allow": allowed})
            else:
                await self._admitted(scope, receive, answer, path)
        except HTTPException as error:
            await answer.refuse(error, scope, receive)
        finally:
            self._metrics.requests.labels(route, str(answer.status)).inc()
            self._metrics.latency.labels(route).observe(time.monotonic() - began)

    async def drain(self, seconds: float) -> None:
        """Let nobody in any more, and wait so long for the requests that are in work."""
        self._closed, until = True, time.monotonic() + seconds
        while self._in_work > self._connections and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, which holds the place of a request as long as it is open."""
        path, status = _path(scope["path"]), 101
        scope = {**scope, "path": path, "raw_path": path.encode()}
        try:
            with self._place():
                self._check_key(_websocket_key(scope))
                _check_origin(dict(scope["headers"]))
                if path != "/v1/realtime":
                    raise Refusal(404, "no such path")
                self._connections += 1
                try:
                    await self._app(scope, receive, send)
                finally:
                    self._connections -= 1
        except HTTPException as error:
            status = error.status_code
            if "websocket.http.response" in scope.get("extensions", {}):
                await response(error)(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": error.detail[:120]})
        finally:
            self._metrics.requests.labels("/v1/realtime", str(status)).inc()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of those that are in work. Raises Refusal where all are taken."""
        if self._closed:
            raise ending()
        if self._in_work >= self._most_requests:
            raise overloaded()
        self._in_work += 1
        self._metrics.in_work.set(self._in_work)
        try:
            yield
        finally:
            self._in_work -= 1
            self._metrics.in_work.set(self._in_work)

    def _check_key(self, authorization: str) -> None:
        if self._keys and not keys.accepts(self._keys, authorization):
            raise Refusal(401, "no or another API key; send one as Authorization: Bearer …", None, "invalid_api_key")

    async def _admitted(self, scope: Scope, receive: Receive, answer: "_Answer", path: str) -> None:
        if path.startswith("/v1/"):
            self._check_key(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
        if scope["method"] != "POST":
            await self._app(scope, receive, answer)
            return
        with self._place():
            try:
                async with asyncio.timeout(self._deadline):
                    await self._app(scope, self._limited(receive), answer)
            except TimeoutError:
                raise late(self._deadline) from None

    def _limited(self, receive: Receive) -> Receive:
        """The body, refused as soon as it is too large or comes too slowly."""
        arrived, complete, until = 0, False, time.monotonic() + _BODY_SECONDS

        async def limited() -> Message:
            nonlocal arrived, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, f"the body did not arrive within {_BODY_SECONDS:g} s", None, "slow_body") from None
            arrived += len(message.get("body", b""))
            if arrived > self._most_bytes + _BESIDE_THE_FILE:
                megabytes = self._most_bytes // _MEGABYTE
                message_ = f"the file is larger than {megabytes} MB, the limit of this server (max_upload_mb)"
                raise Refusal(413, message_, "file", "file_too_large")
            complete = not message.get("more_body", False)
            return message

        return limited


class _Answer:
    """Sends a response; of a request for its head alone, without the body."""

    def __init__(self, send: Send, head: bool) -> None:
        self._send, self._head = send, head
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self._head:
            message = {**message, "body": b""}
        await self._send(message)

    async def empty(self, status: int, headers: dict[str, str]) -> None:
        """A response without a body."""
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": b""})

    async def refuse(self, error: HTTPException, scope: Scope, receive: Receive) -> None:
        """The refusal, unless the response has begun: then the connection ends without its end."""
        if self.status:
            raise error
        sent: Any = response(error)
        await sent(scope, receive, self)


def _path(path: str) -> str:
    """Without a slash at the end, and with `/v1` before what belongs there."""
    shortened = path.rstrip("/") or "/"
    return f"/v1{shortened}" if shortened.startswith(_VERSIONED) else shortened


def _websocket_key(scope: Scope) -> str:
    """Of a header or, as browsers have to, of a subprotocol."""
    given: str = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    named = (name.removeprefix(_KEY_PROTOCOL) for name in scope["subprotocols"] if name.startswith(_KEY_PROTOCOL))
    return given or f"Bearer {next(named, '')}"


def _check_origin(headers: dict[bytes, bytes]) -> None:
    """Raise Refusal for a page of another server: browsers ask before a request to one, but not before a connection."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and urlsplit(origin).netloc != headers.get(b"host", b"").decode("latin-1"):
        raise Refusal(403, "a page of another server may not connect", None, "other_origin")
