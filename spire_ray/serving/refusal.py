"""Requests that are not answered, in the terms of OpenAI's error object."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Refusal(HTTPException):
    """A status, a message, the field it is about, and a word for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(status, message, {"Retry-After": "1"} if status == 503 else None)
        self.param = param
        self.code = code


def overloaded() -> Refusal:
    """Too many requests at once."""
    return Refusal(503, "the server is overloaded; try again later", code="overloaded")


def ending() -> Refusal:
    """A server that answers what it has begun, and nothing more."""
    return Refusal(503, "the server is being shut down; try again later", code="shutting_down")


def late(seconds: float) -> Refusal:
    """A deadline that has passed."""
    return Refusal(503, f"not answered within {seconds:g} s, the deadline of this server; try again later", code="deadline")


def error_object(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """The body of a refusal."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def response(error: HTTPException) -> JSONResponse:
    """The response of a refusal."""
    body = error_object(error.status_code, error.detail, getattr(error, "param", None), getattr(error, "code", None))
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


def install(app: FastAPI) -> None:
    """Answer every error of an application so."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return response(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return response(Refusal(422, f"{field}: {first['msg']}", field, "invalid_field"))


async def _failed(_: Request, error: Exception) -> Response:
    return JSONResponse(error_object(500, f"the server failed: {type(error).__name__}; its log says more"), 500)
