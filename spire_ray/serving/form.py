"""The body of a request about audio: a multipart form as any client sends it, or the audio itself.

A part without a file name, which form parsers take for text, is audio, too. Nothing is written to disk.
"""

import re
from dataclasses import dataclass, field

from starlette.requests import Request

from spire_ray.serving.refusal import Refusal

_NAME = re.compile(rb"""[;\s]name\*?=(?:"([^"]*)"|([^;\s]+))""", re.IGNORECASE)
_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))""", re.IGNORECASE)
_AUDIO_FIELDS = ("file", "audio", "audio_file")
"""Names that clients give to the audio."""


@dataclass
class Form:
    """What was sent."""

    audio: bytes | None = None
    content_type: str = ""
    """Of the audio: `audio/l16; rate=16000` is raw PCM."""
    fields: dict[str, list[str]] = field(default_factory=dict)

    def one(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        return self.fields.get(name, [default])[-1].strip()

    def all(self, name: str) -> list[str]:
        """Every value of a field, under its name or `name[]`, also with commas between."""
        given = [*self.fields.get(name, []), *self.fields.get(f"{name}[]", [])]
        return [part.strip() for value in given for part in value.split(",") if part.strip()]


async def read(request: Request) -> Form:
    """The form of a request. Raises Refusal for one that has no audio or is not understood."""
    kind = request.headers.get("content-type", "")
    body = await request.body()
    if kind.lower().startswith("multipart/form-data"):
        form = _multipart(kind, body)
    elif kind.lower().startswith(("audio/", "video/", "application/octet-stream")):
        form = Form(body, kind)
    else:
        raise Refusal(415, "send the audio as multipart/form-data in the field file, or as the body", "file", "invalid_body")
    for name in request.query_params:
        form.fields.setdefault(name, []).extend(request.query_params.getlist(name))
    if form.audio is None:
        raise Refusal(422, "file: Field required", "file", "invalid_field")
    return form


def _multipart(kind: str, body: bytes) -> Form:
    found = _BOUNDARY.search(kind)
    if not found:
        raise Refusal(400, "multipart/form-data without a boundary", None, "invalid_body")
    form = Form()
    parts = (b"\r\n" + body).split(b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace"))
    for part in parts[1:]:
        if part.startswith(b"--"):
            break
        head, separated, content = part.partition(b"\r\n\r\n")
        if not separated:
            raise Refusal(400, "multipart/form-data with a part that has no content", None, "invalid_body")
        _take(form, head, content)
    else:
        raise Refusal(400, "multipart/form-data that does not end", None, "invalid_body")
    return form


def _take(form: Form, head: bytes, content: bytes) -> None:
    """One part."""
    headers = {
        name.strip().lower(): value for name, _, value in (line.partition(b":") for line in head.split(b"\r\n") if b":" in line)
    }
    named = _NAME.search(headers.get(b"content-disposition", b""))
    name = (named[1] or named[2] or b"").decode("utf-8", "replace") if named else ""
    if name in _AUDIO_FIELDS:
        form.audio, form.content_type = content, headers.get(b"content-type", b"").decode("latin-1").strip()
        return
    try:
        form.fields.setdefault(name, []).append(content.decode())
    except UnicodeDecodeError:
        raise Refusal(400, f"{name[:40]}: not UTF-8", name[:40] or None, "invalid_field") from None
