"""The route of conversations: OpenAI's chat completions, with speech as `input_audio` parts in any turn of the user."""

import base64
import binascii
import json
import math
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spire_ray.inference.conversation import Message
from spire_ray.inference.generate import Answer
from spire_ray.serving.formats import sse
from spire_ray.serving.hearing import Delta
from spire_ray.serving.refusal import Refusal
from spire_ray.serving.service import Service
from spire_ray.units import codec

_FIELDS = {
    "model",
    "messages",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "n",
    "modalities",
    "stream_options",
}
_UNUSED = {"user", "metadata", "store", "seed", "service_tier", "safety_identifier", "prompt_cache_key", "top_p"}
"""Fields that change nothing of a greedy answer."""
_ROLES: tuple[Literal["system", "user", "assistant"], ...] = ("system", "user", "assistant")
_PCM_RATE = 24_000


class Chat:
    """Conversations about text and speech."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def completions(self, request: Request) -> Response:
        """The next answer of a conversation."""
        asked = _object(await request.body())
        _check(asked)
        self._service.check_model(str(asked.get("model") or ""))
        about = await self._service.describe()
        if about.record.form != "it":
            raise Refusal(400, "this model was trained on no conversations", "messages", "unsupported_value")
        most = asked.get("max_completion_tokens", asked.get("max_tokens")) or about.max_new_tokens
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= about.max_new_tokens:
            raise Refusal(400, f"max_tokens: must be from 1 to {about.max_new_tokens}", "max_tokens", "unsupported_value")
        messages = [await self._message(message, number) for number, message in enumerate(_list(asked, "messages"))]
        identity = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._service.settings.name}
        if asked.get("stream"):
            usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            return await self._service.streamed(self._events(messages, most, identity, usage))
        answer = Answer()
        try:
            async with aclosing(self._service.backend.chat(messages, most, False)) as events:
                async for event in events:
                    answer = event if isinstance(event, Answer) else answer
        except ValueError as error:
            raise _refused(error) from None
        choice = {"index": 0, "message": {"role": "assistant", "content": answer.text, "refusal": None}, "logprobs": None}
        choice["finish_reason"] = _reason(answer, most)
        return JSONResponse({**identity, "object": "chat.completion", "choices": [choice], "usage": _usage(answer)})

    async def _events(self, messages: Sequence[Message], most: int, identity: dict[str, Any], usage: bool) -> AsyncGenerator[str]:
        def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            return sse({**identity, "object": "chat.completion.chunk", "choices": [choice]})

        first = True
        try:
            async with aclosing(self._service.backend.chat(messages, most, True)) as events:
                async for event in events:
                    if first:
                        yield chunk({"role": "assistant", "content": ""})
                        first = False
                    if isinstance(event, Delta):
                        yield chunk({"content": event.text})
                    elif isinstance(event, Answer):
                        yield chunk({}, _reason(event, most))
                        if usage:
                            counted = {"choices": [], "usage": _usage(event)}
                            yield sse({**identity, "object": "chat.completion.chunk", **counted})
        except ValueError as error:
            raise _refused(error) from None
        yield "data: [DONE]\n\n"

    async def _message(self, message: Any, number: int) -> Message:
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        role = "system" if role == "developer" else role
        speaker: Literal["system", "user", "assistant"] | None = next((known for known in _ROLES if known == role), None)
        if speaker is None:
            raise _bad(f"{where}.role: must be system, user or assistant")
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not parts:
            raise _bad(f"{where}.content: must be a text or parts")
        return Message(speaker, [await self._part(part, speaker, f"{where}.content[{n}]") for n, part in enumerate(parts)])

    async def _part(self, part: Any, role: str, where: str) -> str | np.ndarray:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            if codec.holds_units(part["text"]):
                raise _bad(f"{where}: units written as text; send the audio")
            return str(part["text"])
        if kind == "input_audio" and role == "user" and isinstance(part.get("input_audio"), dict):
            return await self._samples(part["input_audio"], where)
        raise _bad(f"{where}: must be a text or, of the user, an input_audio with data and format")

    async def _samples(self, given: dict[str, Any], where: str) -> np.ndarray:
        """The speech of a clip that the model hears at once."""
        try:
            data = base64.b64decode(str(given.get("data", "")), validate=True)
        except (binascii.Error, ValueError):
            raise _bad(f"{where}.input_audio.data: not base64") from None
        kind = f"audio/pcm; rate={_PCM_RATE}" if str(given.get("format", "")).startswith("pcm") else ""
        async with aclosing(self._service.decoders.clips(data, kind)) as clips:
            heard = [clip async for clip in clips]
        longest = (await self._service.describe()).longest_seconds
        if len(heard) > 1:
            message = f"{where}: longer than the {longest:.1f} s that the model hears at once; transcriptions take any length"
            raise Refusal(400, message, "messages", "audio_too_long")
        if not heard or not heard[0].speech:
            raise Refusal(400, f"{where}: no speech is heard in it", "messages", "no_speech")
        return heard[0].samples


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON", None, "invalid_body") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "the body is not a JSON object", None, "invalid_body")
    return asked


def _list(asked: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(asked.get(name), list) or not asked[name]:
        raise _bad(f"{name}: must be a list of messages")
    return list(asked[name])


def _check(asked: dict[str, Any]) -> None:
    """Raise Refusal for a field that is not understood or asks for what greedy decoding cannot do."""
    for name, value in asked.items():
        if name not in _FIELDS | _UNUSED and value is not None:
            raise Refusal(400, f"{name[:40]}: not supported; leave it out", name[:40], "unknown_field")
    for name, possible in (("n", (None, 1)), ("temperature", (None, 0)), ("stream", (None, True, False))):
        value = asked.get(name)
        number = isinstance(value, (int, float)) and not math.isfinite(value)
        if number or value not in possible:
            raise Refusal(400, f"{name}={str(value)[:20]}: must be {possible[1]}", name, "unsupported_value")
    if asked.get("modalities") not in (None, ["text"]):
        raise Refusal(400, 'modalities: must be ["text"]', "modalities", "unsupported_value")
    if not isinstance(asked.get("stream_options") or {}, dict):
        raise Refusal(400, "stream_options: must be an object", "stream_options", "invalid_field")


def _bad(message: str) -> Refusal:
    return Refusal(400, message, "messages", "invalid_field")


def _refused(error: ValueError) -> Refusal:
    """What the model cannot be asked, in the words of whoever found it."""
    return Refusal(400, str(error).splitlines()[-1].removeprefix("ValueError: "), "messages", "invalid_prompt")


def _reason(answer: Answer, most: int) -> str:
    return "length" if len(answer.tokens) >= most else "stop"


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "completion_tokens": len(answer.tokens),
        "prompt_tokens": answer.prompt,
        "total_tokens": answer.prompt + len(answer.tokens),
    }
