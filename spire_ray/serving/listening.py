"""The sound of a realtime session: what has come and is not answered, and whose turn it is."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from spire_ray.audio.stream import Resampler
from spire_ray.serving.refusal import Refusal
from spire_ray.serving.session import Session
from spire_ray.serving.turns import WINDOW, Change, Turns

_SHORTEST = 0.1
"""Seconds of a turn that a client may commit."""
_NEWS = 1.0
"""Seconds of a turn that are new since it was last asked about."""


@dataclass
class Item:
    """A turn."""

    previous: str | None
    id: str = field(default_factory=lambda: f"item_{uuid.uuid4().hex[:24]}")
    sound: bytes = b""
    """16-bit PCM, once it is over."""


class Listening:
    """The buffer of a session."""

    def __init__(self, session: Session, most: int) -> None:
        """At most `most` bytes are kept."""
        self._most, self._before = most, 0.0
        self._last: str | None = None
        self._begin(session)

    def restart(self, session: Session) -> None:
        """Forget what has been heard of a turn that is not over; times and items go on."""
        self._before += self._now
        self._begin(session)

    def _begin(self, session: Session) -> None:
        self._session = session
        self._sound = bytearray()
        self._first = 0
        """Samples that have come before those in the buffer."""
        self._item: Item | None = None
        self._asked = 0
        self._detect()

    def _detect(self) -> None:
        """Look for speech in what comes from now on."""
        self._turns = Turns(self._session.silence, self._now) if self._session.detection else None
        self._at_16k = Resampler(self._session.rate)

    @property
    def _now(self) -> float:
        return (self._first + len(self._sound) // 2) / self._session.rate

    def hear(self, sound: bytes) -> Iterator[tuple[Change, Item]]:
        """The next sound, a second at most; where a turn has ended, its item holds it. Raises Refusal where too much is kept."""
        self._sound += sound
        if len(self._sound) > self._most:
            message = f"more than {self._most >> 20} MB of sound without a commit, the limit of this server (max_upload_mb)"
            raise Refusal(400, message, "audio", "file_too_large")
        if self._turns is None:
            return
        for change in self._turns(self._at_16k(np.frombuffer(sound, np.int16))):
            if change.kind == "started":
                begins = max(0.0, change.at - self._session.padding, self._first / self._session.rate)
                self._drop(begins)
                self._item, self._asked = Item(self._last), 0
                yield Change("started", self._before + begins), self._item
            elif self._item:
                item = self._item
                item.sound = self._taken(change.at, item)
                yield Change("stopped", self._before + change.at), item
        if self._turns.began is None:
            self._drop(self._now - WINDOW - self._session.padding)

    def commit(self) -> Item:
        """What has come, as a turn. Raises Refusal where that is too short."""
        if len(self._sound) < 2 * _SHORTEST * self._session.rate:
            message = f"the buffer has less than {1000 * _SHORTEST:.0f} ms of sound"
            raise Refusal(400, message, None, "input_audio_buffer_commit_empty")
        item = self._item or Item(self._last)
        item.sound = self._taken(self._now, item)
        self._detect()
        return item

    def news(self) -> tuple[Item, bytes] | None:
        """The turn that goes on, once there is enough of it that nobody has been asked about."""
        samples = len(self._sound) // 2
        if (self._turns is not None and self._turns.began is None) or samples - self._asked < _NEWS * self._session.rate:
            return None
        self._item, self._asked = self._item or Item(self._last), samples
        return self._item, bytes(self._sound)

    def _drop(self, until: float) -> None:
        """Forget what has come before a moment."""
        samples = min(len(self._sound) // 2, max(0, round(until * self._session.rate) - self._first))
        del self._sound[: 2 * samples]
        self._first += samples

    def _taken(self, until: float, item: Item) -> bytes:
        """The sound of a turn that has ended."""
        self._last, self._item, self._asked = item.id, None, 0
        taken = bytes(self._sound[: 2 * max(0, round(until * self._session.rate) - self._first)])
        self._drop(until)
        return taken
