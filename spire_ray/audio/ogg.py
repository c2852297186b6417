"""Chained Ogg: several streams one after the other in one file, of which libsndfile reads the first. Source: RFC 3533."""

import io
from typing import IO, Any

import numpy as np

from spire_ray.audio.source import AudioError

PAGE, LARGEST_PAGE = b"OggS", 65_307
_BEGINS = 2
"""The flag of a page that begins a stream."""


def links(file: IO[bytes]) -> list[IO[bytes]]:
    """The streams of a file in their order, each a file of its own; the file itself where it is one stream."""
    file.seek(0)
    data = file.read()
    begins, place, in_headers = [0], 0, True
    while data[place : place + 4] == PAGE and place + 27 <= len(data):
        begins_stream = bool(data[place + 5] & _BEGINS)
        if begins_stream and not in_headers:
            begins.append(place)
        in_headers = begins_stream
        segments = data[place + 26]
        place += 27 + segments + sum(data[place + 27 : place + 27 + segments])
    if len(begins) == 1:
        return [file]
    return [io.BytesIO(data[start:end]) for start, end in zip(begins, [*begins[1:], len(data)], strict=True)]


class Chain:
    """Sounds that follow each other, as one. Raises AudioError where they have different rates."""

    def __init__(self, sounds: list[Any]) -> None:
        self._sounds, self._now = sounds, 0
        self.samplerate, self.channels = sounds[0].samplerate, sounds[0].channels
        self.subtype, self.extra_info = sounds[0].subtype, ""
        if any(sound.samplerate != self.samplerate for sound in sounds):
            raise AudioError("joined of several kinds: rates of its streams differ")

    @property
    def frames(self) -> int:
        """Samples of one channel."""
        return sum(int(sound.frames) for sound in self._sounds)

    def tell(self) -> int:
        """The sample that is read next."""
        return sum(int(sound.frames) for sound in self._sounds[: self._now]) + int(self._sounds[self._now].tell())

    def seek(self, frames: int, whence: int = 0) -> int:
        """Go to a sample, counted from the beginning."""
        self._now = 0
        while frames >= self._sounds[self._now].frames and self._now < len(self._sounds) - 1:
            frames -= self._sounds[self._now].frames
            self._now += 1
        self._sounds[self._now].seek(frames)
        for later in self._sounds[self._now + 1 :]:
            later.seek(0)
        return self.tell()

    def read(self, frames: int = -1, dtype: str = "float64", always_2d: bool = False) -> np.ndarray:
        """The next samples, at most to the end of one of the sounds."""
        while True:
            samples: np.ndarray = self._sounds[self._now].read(frames, dtype=dtype, always_2d=True)
            if len(samples) or self._now == len(self._sounds) - 1:
                return samples
            self._now += 1

    def close(self) -> None:
        """No more."""
        for sound in self._sounds:
            sound.close()
