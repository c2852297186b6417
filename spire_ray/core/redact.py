"""What must not be written: passwords in URLs, keys by their form, and the values of secrets in the environment."""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

_GONE = "***"
_SECRET = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|ACCESS_KEY_ID|CREDENTIAL)", re.IGNORECASE)
"""In the name of a variable or of a field."""
_SHORTEST = 6
"""Letters of a value that is looked for: a shorter one stands in words of every kind."""
_FORMS = (
    (re.compile(r"(?<=://)[^/\s@'\"]*:[^/\s'\"]*@(?=[^/\s@])"), f"{_GONE}@"),  # user:password@host
    (re.compile(r"(?<=://)[^/\s@:'\"]+@(?=[\w.-]+(?::\d+)?(?:[/\s'\",;)?]|$))"), f"{_GONE}@"),  # token@host
    (re.compile(r"([?&](?:[\w.-]*(?:signature|token|password|secret|credential|api_?key|sig)[\w.-]*)=)[^&\s'\"]+", re.IGNORECASE),
     rf"\g<1>{_GONE}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}\b|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bsk-[A-Za-z0-9_-]{20,}"), _GONE),
)  # fmt: skip


def line(text: str) -> str:
    """A text without secrets."""
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST and not value.isalpha() and value in text:
            text = text.replace(value, _GONE)
    return text


def value(given: Any) -> Any:
    """What goes into a record: the same without secrets, however deep."""
    if isinstance(given, str):
        return line(given)
    if isinstance(given, dict):
        return {key: value(one) for key, one in given.items()}
    return [value(one) for one in given] if isinstance(given, list | tuple) else given


class _Stream:
    """A stream that what is printed passes through."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream does."""
        self._stream.write(line(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """While the block runs nothing secret is printed."""
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # type: ignore[type-var]
        yield


def traced(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """As `sys.excepthook`: a traceback without secrets."""
    sys.stderr.write(line("".join(traceback.format_exception(kind, error, trace))))
