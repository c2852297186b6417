"""HTTP for fsspec: with time-outs, and without redirects to addresses of a private network."""

import ipaddress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

_CONNECT, _READ, _WHOLE = 10.0, 60.0, 1800.0
"""Seconds to connect, between two pieces of an answer, and for all of it."""


async def client(**options: Any) -> Any:
    """A session of aiohttp, as `HTTPFileSystem(get_client=…)` wants it."""
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_redirected)
    patience = aiohttp.ClientTimeout(total=_WHOLE, sock_connect=_CONNECT, sock_read=_READ)
    return aiohttp.ClientSession(trace_configs=[trace], **{"timeout": patience, **options})


class PrivateError(PermissionError):
    """A redirect to where the server itself may not even be."""


def private(error: BaseException | None) -> str:
    """What such an error says, however deep it lies; else empty."""
    while error is not None and not isinstance(error, PrivateError):
        error = error.__cause__ or error.__context__
    return str(error or "")


async def _redirected(session: Any, context: SimpleNamespace, answer: Any) -> None:
    """Raise PrivateError before such an address is asked."""
    import asyncio

    target = urlsplit(urljoin(str(answer.url), answer.response.headers.get("Location", "")))
    if target.hostname == answer.url.host and target.port in (answer.url.port, None):
        return
    found = await asyncio.get_running_loop().getaddrinfo(target.hostname or "", target.port or 0)
    if not all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found):
        raise PrivateError(f"redirected to the private address {target.hostname}")
