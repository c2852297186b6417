"""What a row of a manifest may name: local files, objects of S3, other schemes that are allowed; below the roots if any are set.

The settings travel to workers in their environment.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spire_ray.core import redact

SCHEMES, ROOTS, LARGEST = "SPIRE_SCHEMES", "SPIRE_ROOTS", "SPIRE_LARGEST_GB"
VARIABLES = (SCHEMES, ROOTS, LARGEST)
_LOCAL = ("file://", "local://")
_NEVER = ("/proc", "/sys")
"""What the system says of processes and devices; devices themselves are no files, wherever they lie."""
_LARGEST_GB = 4.0


def variables(schemes: Sequence[str], roots: Sequence[str], largest_gb: float) -> dict[str, str]:
    """The rules as the environment holds them."""
    return dict(zip(VARIABLES, ("\n".join(schemes), "\n".join(roots), str(largest_gb)), strict=True))


@contextlib.contextmanager
def under(said: Mapping[str, Any]) -> Iterator[None]:
    """Keep to the rules that the record of a folder says under `storage`; without them to those of the environment."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    if said:
        os.environ.update(variables(said["schemes"], said["roots"], said["largest_gb"]))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def local(source: str) -> str:
    """A path where a URI names a local file; else the URI."""
    scheme = next((one for one in _LOCAL if source.startswith(one)), "")
    return source.removeprefix(scheme)


def largest() -> int:
    """Bytes that are read of an object as a whole."""
    return int(float(os.environ.get(LARGEST) or _LARGEST_GB) * 1e9)


def refusal(source: str) -> str:
    """Why a row may not name this; empty where it may."""
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme not in ("", "s3", *_listed(SCHEMES)):
        return f"scheme not allowed: {scheme}, which storage.schemes does not name"
    place = os.path.realpath(source) if not scheme else source
    if not scheme and any(_below(place, folder) for folder in _NEVER):
        return "of the system, not a file"
    roots = _listed(ROOTS)
    if roots and not any(_below(place, os.path.realpath(root) if "://" not in root else root) for root in roots):
        return "outside storage.roots"
    return ""


def check_endpoint(field: str, url: str) -> None:
    """Raise ValueError for an endpoint with a password, which S3 does not take, and which every log would show."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(
            f"{field}={redact.line(url)}: holds a password; S3 takes its keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def _below(place: str, folder: str) -> bool:
    return f"{place}/".startswith(f"{folder.rstrip('/')}/") and ".." not in Path(place).parts


def _listed(name: str) -> list[str]:
    return [one for one in os.environ.get(name, "").split("\n") if one]
