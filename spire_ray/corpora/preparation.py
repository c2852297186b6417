"""Raw transcripts → text to train on, by named and versioned rules.

A rule never changes under its name: a better one gets the next number, so that text prepared earlier stays what it was.
The raw text stays beside the prepared one, as `text_raw`.
"""

import re
from collections.abc import Callable
from typing import Literal

Casing = Literal["keep", "lower", "sentence"]

_TAG = re.compile(r"<([A-Z]+)>")
_MARKS = {"COMMA": ",", "PERIOD": ".", "QUESTIONMARK": "?", "EXCLAMATIONPOINT": "!"}
_NOISE = ("SIL", "MUSIC", "NOISE", "OTHER")


class Unfit(ValueError):
    """A transcript that is no text to train on, with the reason."""


def _plain(raw: str) -> str:
    """White space collapsed."""
    return " ".join(raw.split())


def _gigaspeech(raw: str) -> str:
    """Punctuation tags become marks; segments that are noise are refused."""
    for tag in _TAG.findall(raw):
        if tag in _NOISE:
            raise Unfit(f"noise segment: <{tag}>")
        if tag not in _MARKS:
            raise Unfit(f"unknown tag: <{tag}>")
    marked = _TAG.sub(lambda tag: _MARKS[tag[1]], raw)
    return re.sub(r"\s+([,.?!])", r"\1", _plain(marked))


PREPARATIONS: dict[str, Callable[[str], str]] = {"plain-1": _plain, "gigaspeech-1": _gigaspeech}


def prepare(raw: str, preparation: str, casing: Casing = "keep") -> str:
    """Text of a raw transcript. Raises Unfit where there is none."""
    text = PREPARATIONS[preparation](raw or "")
    if not text.strip(" ,.?!"):
        raise Unfit("no text")
    if casing == "keep":
        return text
    text = text.lower()
    return text if casing == "lower" else re.sub(r"(^|[.?!]\s+)(\w)", lambda found: found[1] + found[2].upper(), text)
