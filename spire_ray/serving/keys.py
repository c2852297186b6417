"""Who may ask: API keys from a file and the environment, held as hashes and compared in constant time."""

import hashlib
import hmac
import ipaddress
import os
from pathlib import Path

from spire_ray.settings import ServeSettings

VARIABLE = "SPIRE_API_KEYS"


def hashes(settings: ServeSettings) -> tuple[str, ...]:
    """Of the keys that are accepted; none: everybody may ask.

    Raises ValueError for a file that is not there or empty, and for a server without keys that others can reach, unless `open`
    asks for it.
    """
    keys = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
    if settings.api_keys:
        try:
            lines = Path(settings.api_keys).read_text().splitlines()
        except OSError as error:
            raise ValueError(f"api_keys={settings.api_keys}: {error.strerror}; name a file with a key on each line") from None
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise ValueError(f"api_keys={settings.api_keys}: holds no key; write one on each line")
        keys += found
    known = tuple(sorted({_hash(key) for key in keys if key}))
    if not known and not settings.open and not _loopback(settings.host):
        raise ValueError(f"host={settings.host}: others can reach it without a key; set api_keys or {VARIABLE}, or open=true")
    return known


def accepts(known: tuple[str, ...], authorization: str) -> bool:
    """Whether an Authorization header holds one of the keys."""
    scheme, _, key = authorization.strip().partition(" ")
    given = _hash(key.strip()) if scheme.lower() == "bearer" else ""
    return sum(hmac.compare_digest(given, each) for each in known) > 0  # every one is compared


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
