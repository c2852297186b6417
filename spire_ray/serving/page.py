"""The page at `/`: one file with its styles and its program, which asks nothing of any other server."""

from functools import cache
from importlib.resources import files

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; connect-src 'self'; media-src blob: data:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may fetch for it."""


@cache
def html() -> str:
    """The page."""
    return (files("spire_ray.serving") / "page.html").read_text()
