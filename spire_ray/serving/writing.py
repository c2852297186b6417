"""The text of a turn: what is certain of it while it is said, and the rest once it is over.

What has been shown is not taken back: while a turn goes on, that is what two guesses in a row agree on (local agreement; Liu
et al., 2020: "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection").
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import takewhile
from typing import Any

from spire_ray.inference.asking import Wanted
from spire_ray.serving import formats
from spire_ray.serving.form import Form
from spire_ray.serving.recordings import Told, spaced
from spire_ray.serving.service import Service
from spire_ray.text.languages import language


class Writing:
    """One turn."""

    def __init__(self, service: Service, wanted: Wanted, rate: int) -> None:
        """Of 16-bit PCM with `rate` samples a second."""
        self._service, self._wanted, self._rate = service, wanted, rate
        self.main = "" if wanted.transcript else wanted.targets[0]
        """The language whose text is that of the turn; empty for the transcript."""
        self._guessed: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._pieces: list[Told] = []

    async def guess(self, sound: bytes) -> AsyncGenerator[tuple[str, str]]:
        """What is certain and new of what has been said so far: (language, text).

        Nothing where that is more than is put to the model at once.
        """
        if len(sound) > 2 * self._rate * (await self._service.describe()).longest_seconds:
            return
        told = self._service.recordings.told(self._form(sound), self._wanted, False)
        async with aclosing(told) as events:
            pieces = [event async for event in events if isinstance(event, Told)]
        found = formats.body(pieces, self._wanted, ())
        for name, text in ({self.main: found["text"]} | found.get("translations", {})).items():
            certain = _agreed(self._guessed.get(name, ""), text, language(name or self._wanted.source).spaces)
            self._guessed[name] = text
            if new := self._new(name, certain):
                yield name, new

    async def whole(self, sound: bytes) -> AsyncGenerator[tuple[str, str]]:
        """What is said in the turn and has not been shown; none of it where that turned out to be wrong."""
        said: dict[str, str] = {}
        told = self._service.recordings.told(self._form(sound), self._wanted, True)
        async with aclosing(spaced(told, self._wanted)) as events:
            async for event in events:
                if isinstance(event, Told):
                    self._pieces.append(event)
                    continue
                said[event.language] = said.get(event.language, "") + event.text
                if new := self._new(event.language, said[event.language]):
                    yield event.language, new

    def found(self) -> dict[str, Any]:
        """The whole turn, which `whole` has found out."""
        found = formats.body(self._pieces, self._wanted, ())
        self._service.metrics.heard(found["usage"]["seconds"])
        return {"transcript": found.pop("text"), **found}

    def _form(self, sound: bytes) -> Form:
        return Form(sound, f"audio/pcm; rate={self._rate}")

    def _new(self, name: str, text: str) -> str:
        """What a text adds to what has been shown."""
        shown = self._shown.get(name, "")
        if len(text) <= len(shown) or not text.startswith(shown):
            return ""
        self._shown[name] = text
        return text[len(shown) :]


def _agreed(one: str, other: str, spaces: bool) -> str:
    """Where two texts begin alike, up to the last whole word."""
    gap = " " if spaces else ""
    pairs = zip(one.split(gap), other.split(gap), strict=False) if gap else zip(one, other, strict=False)
    return gap.join(mine for mine, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
