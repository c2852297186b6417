"""Open sound: by libsndfile what it reads, by PyAV the rest, and lengths counted where a file does not say them rightly."""

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO, Any

import soundfile

from spire_ray.audio import effects, header, media, mpeg, ogg
from spire_ray.audio.source import AudioError, opened, withheld

_RATES = (1_000, 768_000)
_UNKNOWN_FRAMES = 1 << 48
"""libsndfile's count for a file that does not say its length lies far above."""
_SAMPLE_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}
_HEAD = 512
_AHEAD = 1 << 16


class Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that may begin some samples after the recording whose samples its positions count.

    It is not sought in while its length is unknown; libsndfile fails at that.
    """

    def __init__(self, file: IO[bytes], skipped: float = 0.0, frames: int | None = None) -> None:
        """`frames` is the number of samples where that is better known than libsndfile's own, `skipped` is seconds."""
        self._bytes, self._reading = _Bytes(file), False
        try:
            super().__init__(self._bytes)
        except soundfile.LibsndfileError:
            self._bytes.check()
            raise AudioError(header.why_not(file)) from None
        self._skipped, self._counted = round(skipped * self.samplerate), frames
        self._place = 0

    @property
    def frames(self) -> int:
        """Samples of one channel of the recording, as far as they are known."""
        counted = int(self._info.frames) if self._counted is None else self._counted
        return int(counted + self._skipped)

    def seekable(self) -> bool:
        """Whether a sample can be gone to. Not while samples are read: soundfile goes to the place behind them, where it is.

        A lossy decoder starts anew for that, and the first hundreds of samples are wrong.
        """
        return bool(not self._reading and knows_length(self) and super().seekable())

    def seek(self, frames: int, whence: int = 0) -> int:
        """Go to a sample of the recording; where libsndfile cannot, as in GSM 6.10 and DWVW, by reading up to it."""
        place = frames - self._skipped if whence == io.SEEK_SET else frames
        if (super().seekable() and not self.subtype.startswith("DWVW")) or not knows_length(self):
            return int(super().seek(place, whence) + self._skipped)
        place += self._place if whence == io.SEEK_CUR else 0
        if place < self._place:
            self.close()
            self._bytes.seek(0)
            super().__init__(self._bytes)
            self._place = 0
        while self._place < place and len(self.read(min(_AHEAD, place - self._place))):
            pass
        return int(self._place + self._skipped)

    def read(self, frames: int = -1, dtype: str = "float64", always_2d: bool = False, **options: Any) -> Any:
        """As soundfile does. Raises the OSError that the file itself has met."""
        left = self.frames - self.tell() if knows_length(self) else max(frames, 0)
        self._reading = True
        try:
            found = super().read(left if frames < 0 else max(0, min(frames, left)), dtype, always_2d, **options)
            self._place += len(found)
            return found
        finally:
            self._reading = False
            self._bytes.check()


class _Bytes:
    """A file as libsndfile may have it: without its name, whose ending would be believed, and with its errors kept.

    An error that is raised under libsndfile is printed and forgotten, and the sound seems to end there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self._error: OSError | None = None

    def read(self, count: int) -> bytes:
        """The next bytes; none after an error."""
        try:
            return b"" if self._error else self._file.read(count)
        except OSError as error:
            self._error = error
            return b""

    def check(self) -> None:
        """Raise what reading has met."""
        if self._error is not None:
            raise self._error


@contextmanager
def reader(source: bytes | str, begin: float = 0.0, seconds: float = float("inf"), *, whole: bool = True) -> Iterator[Any]:
    """An open sound, in which `seconds` from `begin` on can be read; the rest need not be there.

    Raises AudioError for what is missing, not audio, or without a usable rate.
    """
    source, found = effects.split(source)
    begin, seconds = begin * found.scale, seconds * found.scale
    try:
        with opened(source, whole=whole) as file, closing(_sound(file, begin, seconds)) as sound:
            sound.effects = found
            rate = sound.samplerate
            if not _RATES[0] <= rate <= _RATES[1]:
                raise AudioError(f"sample rate {rate}: must be {_RATES[0]} to {_RATES[1]} Hz" if rate else "sample rate 0")
            if whole or seconds == float("inf"):
                place = file.tell()
                frame_bytes = _SAMPLE_BYTES.get(sound.subtype, 4) * sound.channels
                header.check_length(file, sound.extra_info, sound.frames, frame_bytes)
                file.seek(place)
            yield sound
    except OSError as error:  # in the middle of reading
        raise withheld(error, source) from None


def knows_length(sound: Any) -> bool:
    """Whether a sound says how long it is."""
    return bool(sound.frames < _UNKNOWN_FRAMES)


def _sound(file: IO[bytes], begin: float, seconds: float) -> Any:
    head = file.read(_HEAD)
    frames, skipped = None, 0.0
    if media.kind(head):
        file, skipped = media.to_wav(file, begin, seconds)
    elif mpeg.recognizes(head) or mpeg.in_wav(head):
        file, frames = mpeg.counted(file)
    elif head[:4] == ogg.PAGE and len(links := ogg.links(file)) > 1:
        return ogg.Chain([Sound(link) for link in links])
    file.seek(0)
    return Sound(file, skipped, frames)
