"""The HTTP face of the server: the speech API of OpenAI, with `to_language` for translations.

Decoding greedily with a fixed prompt, it takes `prompt` and `temperature` but makes no use of them.
"""

import asyncio
import time
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spire_ray.audio import decode
from spire_ray.settings import SAMPLE_RATE, ServeSettings
from spire_ray.text.languages import language
from spire_ray.text.record import Record

FORMATS = ("json", "text")
"""Supported values of `response_format`."""
_MEGABYTE = 1 << 20
_BESIDE_THE_FILE = _MEGABYTE
"""Bytes of a request that are not the file: the other fields and the borders between them."""
_DENSEST = 4
"""Deduplication shortens speech less than this; audio that is longer than even that could make fit is not decoded."""


class Refusal(HTTPException):
    """A request that is not answered, in the terms of OpenAI's error object."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        retry = {"Retry-After": "1"} if status == 503 else None
        super().__init__(status, message, retry)
        self.param = param
        self.code = code


class Ingress:
    """A Serve deployment: requests → audio → units → text → responses."""

    def __init__(self, settings: ServeSettings, encoder: DeploymentHandle, model: DeploymentHandle) -> None:
        self._settings = settings
        self._encoder = encoder
        self._model = model
        self._created = int(time.time())
        self._limits: tuple[int, float, Record] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The routes; Ray Serve calls this in the replica."""
        app = FastAPI(title="spire-ray", description="Speech in, text out.")
        app.add_api_route("/health", self.health, methods=["GET"])
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{model:path}", self.one_model, methods=["GET"])
        app.add_api_route("/v1/audio/transcriptions", self.transcriptions, methods=["POST"], response_model=None)
        app.add_exception_handler(HTTPException, _refused)
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(Exception, _failed)
        app.add_middleware(
            _LimitedBody, limit=self._settings.max_upload_mb * _MEGABYTE + _BESIDE_THE_FILE, refusal=self._too_large()
        )
        return app

    async def health(self) -> dict[str, str]:
        """Whether requests are taken."""
        return {"status": "ok"}

    async def models(self) -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [await self.one_model(self._settings.name)]}

    async def one_model(self, model: str) -> dict[str, Any]:
        """A model by name."""
        self._check_model(model)
        return {"id": model, "object": "model", "created": self._created, "owned_by": "spire-ray"}

    async def transcriptions(
        self,
        file: Annotated[UploadFile, File(description="Audio: wav, flac, mp3 or ogg.")],
        model: Annotated[str, Form(description="Name of the model; the one that is served may be left out.")] = "",
        language: Annotated[str, Form(description="Language that is spoken: ISO 639-1 or English name.")] = "",
        to_language: Annotated[str, Form(description="Translate into this language: ISO 639-1 or English name.")] = "",
        response_format: Annotated[str, Form(description="json or text.")] = "json",
        stream: Annotated[bool, Form(description="Must be false.")] = False,
        prompt: Annotated[str, Form(description="Not used.")] = "",
        temperature: Annotated[float, Form(description="Not used: decoding is greedy.")] = 0.0,
    ) -> Response:
        """Speech → transcript, or its translation with `to_language`."""
        self._check_model(model or self._settings.name)
        if response_format not in FORMATS:
            message = f"response_format={response_format!r} is not supported; supported are {', '.join(FORMATS)}"
            raise Refusal(400, message, "response_format", "unsupported_value")
        if stream:
            raise Refusal(400, "stream=true is not supported; leave it out", "stream", "unsupported_value")
        source = _known(language or "en", "language")
        target = _known(to_language, "to_language") if to_language else ""
        if file.size is not None and file.size > self._settings.max_upload_mb * _MEGABYTE:
            raise self._too_large()
        try:
            text, seconds = await self._answer(await file.read(), source, target)
        except (BackPressureError, DeploymentUnavailableError):
            raise Refusal(503, "the server is overloaded; try again later", code="overloaded") from None
        if response_format == "text":
            return PlainTextResponse(text)
        return JSONResponse({"text": text, "usage": {"type": "duration", "seconds": seconds}})

    async def _answer(self, data: bytes, source: str, target: str) -> tuple[str, float]:
        """Audio file → text and seconds of audio."""
        if self._limits is None:
            self._limits = await self._model.limits.remote()
        most_units, longest, record = self._limits
        try:
            record.require_direction(source, target)
        except ValueError as error:
            raise Refusal(400, str(error), "to_language" if target else "language", "untrained_language") from None
        too_long = f"the audio is too long: up to {longest:.1f} s always fit into the model's positions; cut it into pieces"
        try:
            pcm = await asyncio.to_thread(_decode, data, _DENSEST * longest)
        except decode.AudioTooLong:
            raise Refusal(400, too_long, "file", "audio_too_long") from None
        except decode.AudioError as error:
            message = f"the file cannot be decoded: {error}; wav, flac, mp3 and ogg can be read"
            raise Refusal(415, message, "file", "undecodable_audio") from None
        seconds = len(pcm) / 2 / SAMPLE_RATE
        units = await self._encoder.remote(pcm)
        if len(units) == 0:
            raise Refusal(400, f"the audio is too short: {seconds:.3f} s make no frame", "file", "audio_too_short")
        if len(units) > most_units:
            raise Refusal(400, f"{too_long} (this file: {seconds:.1f} s)", "file", "audio_too_long")
        return await self._model.remote(units, source, target), round(seconds, 3)

    def _check_model(self, name: str) -> None:
        if name != self._settings.name:
            message = f"model {name!r} does not exist; this server has {self._settings.name!r}"
            raise Refusal(404, message, "model", "model_not_found")

    def _too_large(self) -> Refusal:
        message = f"the file is larger than {self._settings.max_upload_mb} MB, the limit of this server (max_upload_mb)"
        return Refusal(413, message, "file", "file_too_large")


class _LimitedBody:
    """ASGI middleware: a body above `limit` bytes is refused while it arrives, before all of it has been stored."""

    def __init__(self, app: ASGIApp, limit: int, refusal: Refusal) -> None:
        self._app = app
        self._limit = limit
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._limit:
                raise self._refusal
            return message

        await self._app(scope, counted, send)


def _decode(data: bytes, max_seconds: float) -> bytes:
    """Audio file → int16 PCM at 16 kHz."""
    return decode.load_pcm(data, max_seconds=max_seconds).tobytes()


def _known(name: str, field: str) -> str:
    """The code of a language."""
    try:
        return language(name).code
    except ValueError as error:
        raise Refusal(400, f"{field}: {error}", field, "unknown_language") from None


def _error(status: int, message: str, param: str | None, code: str | None) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _error(error.status_code, error.detail, getattr(error, "param", None), getattr(error, "code", None))
    response.headers.update(error.headers or {})
    return response


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return _error(422, f"{field}: {first['msg']}", field, "invalid_field")


async def _failed(_: Request, error: Exception) -> Response:
    return _error(500, f"the server failed: {type(error).__name__}; its log says more", None, None)
