"""The realtime route: sound comes over a WebSocket, text goes back in OpenAI's events of transcription sessions."""

import asyncio
import base64
import binascii
import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from spire_ray.inference.asking import Wanted
from spire_ray.serving import languages, session
from spire_ray.serving.listening import Item, Listening
from spire_ray.serving.refusal import Refusal, error_object, late
from spire_ray.serving.service import Service
from spire_ray.serving.session import Session
from spire_ray.serving.writing import Writing

_IDLE_SECONDS = 300.0
"""Without an event of the client while nothing waits for its answer, after which the connection is ended."""
_FIELDS = {"session.update": {"session"}, "transcription_session.update": {"session"}, "input_audio_buffer.append": {"audio"}}
"""Of events, beside `type` and `event_id`; the others have none."""
_GOODBYE_SECONDS = 5.0
"""For a client to take the reason why its connection is ended."""


class Realtime:
    """See the module."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def connect(self, socket: WebSocket) -> None:
        """One connection."""
        await socket.accept("realtime" if "realtime" in socket.scope["subprotocols"] else None)
        await _Connection(self._service, socket).run()


class _Connection:
    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service, self._socket = service, socket
        self._most, self._waiting = service.settings.max_upload_mb << 20, 0
        """Bytes that may wait and that do: of events that are not read, of turns whose answer has not begun."""
        self._messages: asyncio.Queue[str | None] = asyncio.Queue()
        """Events as they came; None for one that is no text."""
        self._turns: asyncio.Queue[tuple[Item, bytes, Writing]] = asyncio.Queue()
        self._answering = False
        self._session = Session()
        self._wanted = Wanted("en")
        self._listening = Listening(self._session, self._most)
        self._writing: Writing | None = None
        """Of the turn that is being said."""
        self._guessing: asyncio.Task[None] | None = None
        self._events: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, None]]] = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    async def run(self) -> None:
        """Until the client goes, says nothing for long, sends too much or names no model of this server; then nothing goes on."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._receive, self._heard, self._answer):
                    group.create_task(work())
        except* WebSocketDisconnect:
            pass  # the ordinary end, theirs or ours: leaving the group has cancelled what went on for who has gone
        finally:
            self._stop_guessing()

    async def _receive(self) -> None:
        """Take whatever comes at once: behind Ray Serve, what is left there waits in the memory of this process, uncounted."""
        while True:
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    message = await self._socket.receive_text()
            except TimeoutError:
                if self._waiting or self._answering:
                    continue
                await self._end(Refusal(408, f"no event for {_IDLE_SECONDS:g} s", None, "idle_timeout"), 1001)
            except KeyError:
                message = None  # a frame of bytes, which is answered as an event that is none
            if self._waiting > self._most:
                said = f"more than {self._most >> 20} MB wait for their answer, the limit of this server (max_upload_mb)"
                await self._end(Refusal(429, f"{said}; send sound as slowly as it is spoken", "audio", "too_much_waits"), 1008)
            self._waiting += sys.getsizeof(message)
            self._messages.put_nowait(message)
            await asyncio.sleep(0)  # receiving what has come already does not suspend: let others work

    async def _begin(self) -> None:
        try:
            await self._set({"audio": {"input": {"transcription": {"model": self._socket.query_params.get("model", "")}}}})
        except HTTPException as error:
            await self._end(error, 1008)
        await self._send("session.created", session=self._session.shown())

    async def _heard(self) -> None:
        await self._begin()
        while True:
            message = await self._messages.get()
            self._waiting -= sys.getsizeof(message)
            event: Any = None
            try:
                event = _event(message)
                if event.get("type") not in self._events:
                    raise Refusal(400, f"type={str(event.get('type'))[:60]!r}: no event of this server", "type", "unknown_event")
                _check_fields(event)
                await self._events[event["type"]](event)
            except HTTPException as error:
                await self._refuse(error, event.get("event_id") if isinstance(event, dict) else None)

    async def _update(self, event: dict[str, Any]) -> None:
        warnings = await self._set(event.get("session"))
        said = {"warnings": warnings} if warnings else {}
        await self._send(event["type"] + "d", session=self._session.shown(), **said)

    async def _set(self, given: Any) -> list[str]:
        """Change the session; a turn that is not over is forgotten. Raises Refusal, and then nothing has changed."""
        found, warnings = session.updated(self._session, given)
        self._service.check_model(found.model)
        about = await self._service.describe()
        self._wanted = languages.wanted(about.record, found.language, found.to_language, found.mode)
        self._session = found
        self._listen()
        return warnings

    def _listen(self) -> None:
        self._stop_guessing()
        self._writing = None
        self._listening.restart(self._session)

    async def _append(self, event: dict[str, Any]) -> None:
        if "audio" not in event:
            raise Refusal(400, "audio: is missing; send 16-bit PCM in base64", "audio", "invalid_field")
        try:
            sound = base64.b64decode(event["audio"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise Refusal(400, "audio: not base64", "audio", "invalid_field") from None
        if len(sound) % 2:
            raise Refusal(400, "audio: 16-bit samples have an even number of bytes", "audio", "invalid_field")
        second = 2 * self._session.rate
        for start in range(0, len(sound), second):
            try:
                for change, item in self._listening.hear(sound[start : start + second]):
                    milliseconds = {"audio_start_ms" if change.kind == "started" else "audio_end_ms": round(1000 * change.at)}
                    await self._send(f"input_audio_buffer.speech_{change.kind}", item_id=item.id, **milliseconds)
                    if change.kind == "stopped":
                        await self._ended(item)
            except Refusal:
                self._listen()
                raise
            self._guess()
            await asyncio.sleep(0)

    async def _commit(self, event: dict[str, Any]) -> None:
        await self._ended(self._listening.commit())

    async def _clear(self, event: dict[str, Any]) -> None:
        self._listen()
        await self._send("input_audio_buffer.cleared")

    async def _ended(self, item: Item) -> None:
        """A turn is over: it is answered when those before it are."""
        self._stop_guessing()
        writing = self._writing or Writing(self._service, self._wanted, self._session.rate)
        self._writing = None
        await self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=item.previous)
        content = [{"type": "input_audio", "transcript": None}]
        shown = {"id": item.id, "object": "realtime.item", "type": "message", "role": "user", "status": "completed"}
        await self._send("conversation.item.created", item={**shown, "content": content}, previous_item_id=item.previous)
        self._waiting += len(item.sound)
        self._turns.put_nowait((item, item.sound, writing))

    def _guess(self) -> None:
        """Say what is certain of a turn that goes on, unless that is being found out or others are waited for."""
        busy = self._guessing is not None and not self._guessing.done()
        if busy or not self._turns.empty() or not (turn := self._listening.news()):
            return
        item, sound = turn
        if self._writing is None:
            self._writing = Writing(self._service, self._wanted, self._session.rate)
        writing = self._writing

        async def guess() -> None:
            with contextlib.suppress(HTTPException, WebSocketDisconnect):  # the turn says it once it is over
                async with aclosing(writing.guess(sound)) as events:
                    async for language, text in events:
                        await self._delta(item, writing, language, text)

        self._guessing = asyncio.create_task(guess())

    def _stop_guessing(self) -> None:
        if self._guessing:
            self._guessing.cancel()
            self._guessing = None

    async def _answer(self) -> None:
        while True:
            self._answering = False
            item, sound, writing = await self._turns.get()
            self._waiting, self._answering = self._waiting - len(sound), True
            base = "conversation.item.input_audio_transcription"
            try:
                async with asyncio.timeout(deadline := self._service.settings.deadline_seconds):
                    async with aclosing(writing.whole(sound)) as events:
                        async for language, text in events:
                            await self._delta(item, writing, language, text)
                await self._send(f"{base}.completed", item_id=item.id, content_index=0, **writing.found())
            except WebSocketDisconnect:
                raise
            except Exception as error:
                known = late(deadline) if isinstance(error, TimeoutError) else error
                refused = (
                    known
                    if isinstance(known, HTTPException)
                    else HTTPException(500, f"the server failed: {type(error).__name__}")
                )
                await self._send(f"{base}.failed", item_id=item.id, content_index=0, **_error(refused))

    async def _delta(self, item: Item, writing: Writing, language: str, text: str) -> None:
        if language == writing.main:
            kind, said = "conversation.item.input_audio_transcription.delta", {}
        else:
            kind, said = "conversation.item.input_audio_translation.delta", {"language": language}
        await self._send(kind, item_id=item.id, content_index=0, delta=text, **said)

    async def _refuse(self, error: HTTPException, caused_by: Any = None) -> None:
        body = _error(error)
        await self._send("error", error={**body["error"], "event_id": caused_by if isinstance(caused_by, str) else None})

    async def _end(self, error: HTTPException, code: int) -> NoReturn:
        """Say why, and end the connection, whether or not the client listens."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._refuse(error)
                await self._socket.close(code)
        raise WebSocketDisconnect(code)

    async def _send(self, kind: str, **said: Any) -> None:
        if WebSocketState.DISCONNECTED in (self._socket.client_state, self._socket.application_state):
            raise WebSocketDisconnect  # seen by another task of the connection
        event = {"event_id": f"event_{uuid.uuid4().hex}", "type": kind, **said}
        await self._socket.send_text(json.dumps(event, ensure_ascii=False))


def _event(message: str | None) -> dict[str, Any]:
    if message is None:
        raise Refusal(400, "events are text, not bytes", None, "invalid_event")
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise Refusal(400, "the event is not JSON", None, "invalid_event") from None
    if not isinstance(event, dict):
        raise Refusal(400, "the event is not a JSON object", None, "invalid_event")
    return event


def _check_fields(event: dict[str, Any]) -> None:
    for name in event.keys() - {"type", "event_id"} - _FIELDS.get(event["type"], set()):
        raise Refusal(400, f"{name[:40]}: no field of {event['type']}", name[:40] or None, "unknown_field")


def _error(error: HTTPException) -> dict[str, Any]:
    return error_object(error.status_code, error.detail, getattr(error, "param", None), getattr(error, "code", None))
