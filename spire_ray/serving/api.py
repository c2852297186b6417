"""The HTTP face of the server: OpenAI's speech API, with several languages at once, units, and a page to try it."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from spire_ray.serving import page, reference, refusal
from spire_ray.serving.chat import Chat
from spire_ray.serving.door import Door
from spire_ray.serving.hearing import Backend
from spire_ray.serving.realtime import Realtime
from spire_ray.serving.service import Service
from spire_ray.serving.speech import Speech
from spire_ray.settings import ServeSettings

_MEGABYTE = 1 << 20
_ABOUT = (
    "Speech in, text out, in the terms of OpenAI's API. The WebSocket /v1/realtime takes the sound of a microphone and speaks "
    "the events of their transcription sessions."
)


class Application:
    """The routes that are no work of the model's."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self) -> Response:
        """Whether requests are answered."""
        await self._service.health()
        return JSONResponse({"status": "ok"})

    async def metrics(self) -> Response:
        """For Prometheus."""
        try:
            await self._service.health()
        except refusal.Refusal:  # the numbers of the ingress say so
            self._service.metrics.replica({"ready": 0})
        else:
            self._service.metrics.replica({"ready": 1})
        return PlainTextResponse(self._service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self) -> dict[str, Any]:
        """The names of the one model that is served."""
        return {"object": "list", "data": [await self.one_model(name) for name in self._service.names]}

    async def one_model(self, model: str) -> dict[str, Any]:
        """A model by name, with what it was trained on."""
        self._service.check_model(model)
        about = await self._service.describe()
        return {
            "id": model,
            "object": "model",
            "created": self._service.created,
            "owned_by": "spire-ray",
            "directions": list(about.record.directions),
            "longest_seconds": round(about.longest_seconds, 3),
        }

    async def page(self) -> Response:
        """A page to speak to the model."""
        return HTMLResponse(page.html(), headers={"Content-Security-Policy": page.POLICY})


def application(settings: ServeSettings, backend: Backend, known: tuple[str, ...] = ()) -> Door:
    """The application in front of a model; `known` are the hashes of the API keys that are accepted."""
    service = Service(settings, backend)
    rest, speech, chat = Application(service), Speech(service), Chat(service)
    app = FastAPI(title="spire-ray", description=_ABOUT, docs_url=None, redoc_url=None)
    for path, answer in (
        ("/health", rest.health),
        ("/ready", rest.health),
        ("/metrics", rest.metrics),
        ("/v1/models", rest.models),
    ):
        app.add_api_route(path, answer, methods=["GET"], response_model=None)
    app.add_api_route("/", rest.page, methods=["GET"], include_in_schema=False, response_model=None)
    app.add_api_route("/docs", _reference(app), methods=["GET"], include_in_schema=False, response_model=None)
    app.add_api_route("/v1/models/{model:path}", rest.one_model, methods=["GET"])
    for path, spoken, summary in (
        ("/v1/audio/transcriptions", speech.transcriptions, _TRANSCRIPTION),
        ("/v1/audio/translations", speech.translations, _TRANSCRIPTION),
        ("/v1/units", speech.units, _UNITS),
    ):
        app.add_api_route(path, _described(service, spoken), methods=["POST"], response_model=None, openapi_extra=summary)
    app.add_api_route(
        "/v1/chat/completions", _described(service, chat.completions), methods=["POST"], response_model=None, openapi_extra=_CHAT
    )
    app.add_api_websocket_route("/v1/realtime", Realtime(service).connect)
    refusal.install(app)
    return Door(
        app,
        metrics=service.metrics,
        known=known,
        most_bytes=settings.max_upload_mb * _MEGABYTE,
        most_requests=settings.max_requests * settings.max_replicas,
        deadline=settings.deadline_seconds,
    )


def _described(service: Service, answer: Any) -> Any:
    """A route that is answered once it is known what the model is."""

    async def route(request: Request) -> Response:
        await service.describe()
        response: Response = await answer(request)
        return response

    route.__doc__ = answer.__doc__
    return route


def _reference(app: FastAPI) -> Any:
    async def route() -> Response:
        return HTMLResponse(reference.html(app.openapi()), headers={"Content-Security-Policy": reference.POLICY})

    return route


def _schema(kind: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


_TEXT = {"type": "string"}
_FILE = {"type": "string", "format": "binary"}
_TRANSCRIPTION = _schema(
    "multipart/form-data",
    {
        "file": _FILE,
        "model": _TEXT,
        "language": {**_TEXT, "description": "What is spoken; auto where the model hears one language."},
        "to_language": {"type": "array", "items": _TEXT, "description": "Languages to translate into."},
        "mode": {**_TEXT, "enum": ["direct", "two_turns", "cascade"]},
        "response_format": {**_TEXT, "enum": ["json", "text", "srt", "vtt", "verbose_json"]},
        "timestamp_granularities[]": {"type": "array", "items": {**_TEXT, "enum": ["segment"]}},
        "stream": {"type": "boolean"},
    },
    ["file"],
)
_UNITS = _schema("multipart/form-data", {"file": _FILE, "model": _TEXT}, ["file"])
_CHAT = _schema(
    "application/json",
    {"model": _TEXT, "messages": {"type": "array", "items": {"type": "object"}}, "stream": {"type": "boolean"}},
    ["messages"],
)
