"""The routes about speech: transcriptions, translations, units."""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from spire_ray.inference.asking import Wanted
from spire_ray.serving import form, formats, languages
from spire_ray.serving.hearing import Delta
from spire_ray.serving.recordings import Told, spaced
from spire_ray.serving.refusal import Refusal
from spire_ray.serving.service import Service

_USED = {"model", "language", "to_language", "mode", "response_format", "temperature", "timestamp_granularities", "stream"}
_UNUSED = {
    "prompt": "prompt is not used: the model was trained with a fixed one",
    "hotwords": "hotwords are not used",
    "vad_filter": "vad_filter is not used: pieces without speech are always left out",
    "chunking_strategy": "chunking_strategy is not used: recordings are cut at quiet places",
    "seed": "seed is not used: decoding is greedy",
    "user": "",
    "task": "",
}
"""Fields of other servers, and what the answer says of them."""
_MEDIA = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


class Speech:
    """What is asked about audio."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def transcriptions(self, request: Request) -> Response:
        """Speech → transcript, or its translations with `to_language`."""
        return await self._answered(request, await form.read(request))

    async def translations(self, request: Request) -> Response:
        """Speech → translation, into English unless `to_language` names another."""
        sent = await form.read(request)
        if not sent.all("to_language"):
            sent.fields["to_language"] = ["en"]
        return await self._answered(request, sent)

    async def units(self, request: Request) -> Response:
        """Speech → units."""
        sent = await form.read(request)
        self._service.check_model(sent.one("model"))
        _known(sent, {"model"}, {})
        about = await self._service.describe()
        found = await self._service.recordings.units(sent, about.frame_rate)
        self._service.metrics.heard(found.seconds)
        return JSONResponse(
            {
                "object": "units",
                "units": found.units,
                "durations": found.durations,
                "starts": found.starts,
                "frame_rate": about.frame_rate,
                "codebook": about.codebook,
                "usage": {"type": "duration", "seconds": found.seconds},
            }
        )

    async def _answered(self, request: Request, sent: form.Form) -> Response:
        self._service.check_model(sent.one("model"))
        warnings = _known(sent, _USED, _UNUSED)
        how = sent.one("response_format", "json") or "json"
        if how not in formats.FORMATS:
            message = f"response_format={how[:40]!r} is not supported; supported are {', '.join(formats.FORMATS)}"
            raise Refusal(400, message, "response_format", "unsupported_value")
        _greedy(sent.one("temperature"))
        _segments_alone(sent.all("timestamp_granularities"), how)
        stream = _flag(sent, "stream")
        record = (await self._service.describe()).record
        targets = sent.all("to_language")
        wanted = languages.wanted(record, sent.one("language"), targets, sent.one("mode"), logprobs=how == "verbose_json")
        if len(wanted.targets) > 1 and how in ("text", "srt", "vtt"):
            message = f"response_format={how}: holds one text; several languages come as json"
            raise Refusal(400, message, "response_format", "unsupported_value")
        if stream:
            return await self._service.streamed(self._events(sent, wanted, warnings, request))
        pieces = [event async for event in self._service.recordings.told(sent, wanted, False) if isinstance(event, Told)]
        found = formats.body(pieces, wanted, warnings, how == "verbose_json")
        self._service.metrics.heard(found["usage"]["seconds"])
        if how in ("json", "verbose_json"):
            return JSONResponse(found)
        content = found["text"] if how == "text" else formats.subtitles(pieces, wanted, how == "vtt")
        return PlainTextResponse(content, media_type=_MEDIA[how])

    async def _events(self, sent: form.Form, wanted: Wanted, warnings: list[str], request: Request) -> AsyncGenerator[str]:
        """The stream: deltas of the text, of further translations apart, each piece when it is done, and the whole at the end."""
        main = "" if wanted.transcript else wanted.targets[0]
        pieces: list[Told] = []
        async with aclosing(spaced(self._service.recordings.told(sent, wanted, True), wanted)) as events:
            async for event in events:
                if isinstance(event, Told):
                    yield formats.sse(formats.segment_event(len(pieces), event, wanted))
                    pieces.append(event)
                else:
                    yield formats.sse(_delta(event, main))
        found = formats.body(pieces, wanted, warnings)
        self._service.metrics.heard(found["usage"]["seconds"])
        yield formats.sse({"type": "transcript.text.done", **found})


def _delta(event: Delta, main: str) -> dict[str, Any]:
    if event.language == main:
        return {"type": "transcript.text.delta", "delta": event.text}
    return {"type": "translation.text.delta", "language": event.language, "delta": event.text}


def _known(sent: form.Form, used: set[str], unused: dict[str, str]) -> list[str]:
    """What is to be said of fields that are not used. Raises Refusal for one that is not understood."""
    given = {name.removesuffix("[]"): values for name, values in sent.fields.items()}
    for name in given:
        if name not in used and name not in unused:
            raise Refusal(400, f"{name[:40]}: no field of this route", name[:40] or None, "unknown_field")
    return [unused[name] for name, values in given.items() if unused.get(name) and any(value.strip() for value in values)]


def _greedy(temperature: str) -> None:
    try:
        value = float(temperature or 0)
    except ValueError:
        raise Refusal(422, f"temperature={temperature[:40]!r}: not a number", "temperature", "invalid_field") from None
    if not math.isfinite(value) or not 0 <= value <= 2:
        raise Refusal(400, "temperature: must be from 0 to 2", "temperature", "unsupported_value")
    if value:
        raise Refusal(
            400, f"temperature={value:g}: this server decodes greedily; leave it at 0", "temperature", "unsupported_value"
        )


def _segments_alone(granularities: list[str], how: str) -> None:
    for name in granularities:
        if name != "segment":
            message = f"timestamp_granularities={name[:40]!r}: the model gives no times of words; segment is supported"
            raise Refusal(400, message, "timestamp_granularities[]", "unsupported_value")
    if granularities and how != "verbose_json":
        message = "timestamp_granularities: need response_format=verbose_json"
        raise Refusal(400, message, "timestamp_granularities[]", "unsupported_value")


def _flag(sent: form.Form, name: str) -> bool:
    value = sent.one(name).lower()
    if value not in ("", "true", "false", "1", "0"):
        raise Refusal(422, f"{name}={value[:40]!r}: true or false", name, "invalid_field")
    return value in ("true", "1")
