"""The application in this process, without Ray Serve: one model for one person."""

import contextlib
from collections.abc import Callable
from socket import socket
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from spire_ray.core import storage
from spire_ray.serving.address import url
from spire_ray.serving.api import application
from spire_ray.serving.hearing import Hearing
from spire_ray.settings import ServeSettings


def serve(settings: ServeSettings, clip: str, opened: Callable[[str], object]) -> None:
    """Serve until Ctrl-C; the page begins with a clip, a file here or on S3.

    `opened` is called with its address once it can be asked for.
    """
    address = f"{url(settings)}/?clip=clip/{quote(clip.rpartition('/')[2])}"

    async def heard(request: Request) -> Response:
        return Response(storage.read_bytes(clip))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                print(f"The page of the service: {address} until Ctrl-C", flush=True)
                opened(address)

    app = Starlette(routes=[Route("/clip/{name}", heard), Mount("/", application(settings, Hearing(settings)))])
    server = Server(uvicorn.Config(app, host=settings.host, port=settings.port, log_level="error"))
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has ended
        server.run()
