"""What must not be written: passwords in URLs, keys by their form, and the values of secrets in the environment."""

import os
import re
from typing import Any

_GONE = "***"
_SECRET = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|ACCESS_KEY_ID|CREDENTIAL)", re.IGNORECASE)
"""In the name of a variable or of a field."""
_SHORTEST = 6
"""Letters of a value that is looked for: a shorter one stands in words of every kind."""
_FORMS = (
    (re.compile(r"(?<=://)[^/\s@'\"]*:[^/\s'\"]*@(?=[^/\s@])"), f"{_GONE}@"),  # user:password@host
    (re.compile(r"(?<=://)[^/\s@:'\"]+@(?=[\w.-]+(?::\d+)?(?:[/\s'\"]|$))"), f"{_GONE}@"),  # token@host
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
