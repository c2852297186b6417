"""The page at `/docs`: every route with its fields, from the same schema as `/openapi.json`; it asks nothing of any server."""

from collections.abc import Iterable
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may fetch for it."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0; }
h2 { font: 600 1rem ui-monospace, monospace; overflow-wrap: anywhere; }
h2 b { display: inline-block; min-width: 3.5rem; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .15rem 1.2rem .15rem 0; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def html(schema: dict[str, Any]) -> str:
    """The page of an OpenAPI schema."""
    info = schema["info"]
    routes = "".join(
        _route(method, path, operation) for path, methods in schema["paths"].items() for method, operation in methods.items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info["title"])}: API</title>
<style>{_STYLE}</style>
<h1>{escape(info["title"])}</h1>
<p>{escape(info["description"])} <a href="openapi.json">openapi.json</a> describes the same for programs, <a href="./">a page</a>
tries it.</p>
{routes}
</html>
"""


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    said = escape(operation.get("description") or operation.get("summary", ""))
    bodies = operation.get("requestBody", {}).get("content", {}).items()
    fields = "".join(f"<p><code>{escape(kind)}</code></p>{_fields(body['schema'])}" for kind, body in bodies)
    return f"<section><h2><b>{method.upper()}</b> {escape(path)}</h2><p>{said}</p>{fields}</section>\n"


def _fields(schema: dict[str, Any]) -> str:
    rows = (
        f"<tr><td><code>{escape(name)}</code></td><td>{'required' if name in schema.get('required', ()) else ''}</td>"
        f"<td>{' '.join(_described(field))}</td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table>{''.join(rows)}</table>"


def _described(field: dict[str, Any]) -> Iterable[str]:
    of = field.get("items", field)
    kind = "file" if of.get("format") == "binary" else of.get("type", "")
    yield f"one or several: {kind}" if "items" in field else kind
    if "enum" in of:
        yield ", ".join(f"<code>{escape(value)}</code>" for value in of["enum"])
    if "description" in field:
        yield f"<br>{escape(field['description'])}"
