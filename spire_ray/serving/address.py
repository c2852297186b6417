"""Where the server listens."""

import socket

from spire_ray.settings import ServeSettings


def require_free_port(settings: ServeSettings) -> None:
    """Raise ValueError if nothing can listen at `host` and `port`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ValueError(f"{settings.host}:{settings.port}: {reason}; set port to a free one") from None


def url(settings: ServeSettings) -> str:
    """Where this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"
