"""Audio → mono at 16 kHz, float32 or 16-bit, or the reason why not.

WAV of every kind, FLAC, MP3, Ogg Vorbis and Opus are read by libsndfile; a cut is found by seeking, so that the rest of the
file is not decoded. Memory is bounded by the samples asked for: channels are averaged and lengths enforced block by block.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
import soundfile
import soxr

from spire_ray.audio import ffmpeg, header
from spire_ray.audio.pcm import to_pcm
from spire_ray.audio.source import AudioError, AudioTooLong, opened
from spire_ray.settings import SAMPLE_RATE

__all__ = ["NUMERICS", "AudioError", "AudioTooLong", "load", "load_pcm", "reader"]

NUMERICS = {"decoder": f"libsndfile {soundfile.__libsndfile_version__}", "resampler": f"soxr {soxr.__version__}"}
"""What decides the last bits of a decoded waveform."""

_RATES = (1_000, 768_000)
_BLOCK = 1 << 19
"""Samples of one channel decoded at once: an utterance at 16 kHz, so that nothing has to be joined."""
_LEAD_SECONDS = 1
"""AAC that is entered in the middle is heard right a little later."""
_UNKNOWN_FRAMES = 1 << 48
"""libsndfile's count for a file that does not say its length lies far above."""
ROUNDED_SECONDS = 0.01
"""By which a duration in a manifest may be too long: they are written with two or three decimals."""
_SAMPLE_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that may begin `skipped` seconds after the recording whose samples its positions count.

    It is not sought in while its length is unknown; libsndfile fails at that.
    """

    _skipped = 0

    def __init__(self, file: IO[bytes], skipped: int) -> None:
        super().__init__(file)
        self._skipped = skipped * self.samplerate

    @property
    def frames(self) -> int:
        return int(self._info.frames) + self._skipped

    def seekable(self) -> bool:
        return bool(self.frames < _UNKNOWN_FRAMES and super().seekable())

    def seek(self, frames: int, whence: int = 0) -> int:
        return int(super().seek(frames - self._skipped if whence == io.SEEK_SET else frames, whence)) + self._skipped


@contextmanager
def reader(
    source: bytes | str, begin: float = 0.0, seconds: float = float("inf"), *, whole: bool = True
) -> Iterator[soundfile.SoundFile]:
    """An open sound file, in which `seconds` from `begin` on can be read; the rest need not be there.

    Raises AudioError for what is missing, not audio, or without a usable rate.
    """
    with opened(source, whole=whole) as file:
        convert = header.needs_ffmpeg(file)
        skipped = max(0, int(begin - _LEAD_SECONDS)) if convert else 0
        sound = ffmpeg.to_wav(file, skipped, begin - skipped + seconds) if convert else file
        sound.seek(0)
        try:
            opened_sound = _Sound(sound, skipped)
        except soundfile.LibsndfileError:
            raise AudioError(header.why_not(file)) from None
        with opened_sound:
            rate = opened_sound.samplerate
            if not _RATES[0] <= rate <= _RATES[1]:
                raise AudioError(f"sample rate {rate}: must be {_RATES[0]} to {_RATES[1]} Hz" if rate else "sample rate 0")
            if sound is file and (whole or seconds == float("inf")):
                place = sound.tell()
                frame_bytes = _SAMPLE_BYTES.get(opened_sound.subtype, 4) * opened_sound.channels
                header.check_length(sound, opened_sound.extra_info, opened_sound.frames, frame_bytes)
                sound.seek(place)
            yield opened_sound


def load(
    source: bytes | str, offset: float = 0.0, duration: float | None = None, max_seconds: float = float("inf")
) -> np.ndarray:
    """Decode one utterance: float32 [samples], channels averaged, at 16 kHz.

    `offset` and `duration` are seconds. Raises AudioError for what is missing, not audio, cut short, empty, not finite or
    longer than `max_seconds`.
    """
    return _resampled(*_decoded(source, offset, duration, max_seconds))


def load_pcm(
    source: bytes | str, offset: float = 0.0, duration: float | None = None, max_seconds: float = float("inf")
) -> np.ndarray:
    """As `load`, but int16 PCM; samples that are 16-bit in the file, mono at 16 kHz, are not converted on the way."""
    samples, rate = _decoded(source, offset, duration, max_seconds, pcm=True)
    return samples if samples.dtype == np.int16 else to_pcm(_resampled(samples, rate))


def knows_length(sound: soundfile.SoundFile) -> bool:
    """Whether a file says how long it is."""
    return bool(sound.frames < _UNKNOWN_FRAMES)


def _decoded(
    source: bytes | str, offset: float, duration: float | None, max_seconds: float, pcm: bool = False
) -> tuple[np.ndarray, int]:
    """Samples of one channel and their rate; with `pcm`, int16 where that is what is wanted at the end."""
    if offset < 0:
        raise AudioError(f"negative offset: {offset:g} s")
    needed = max_seconds if duration is None else min(duration, max_seconds)
    with reader(source, offset, needed, whole=not offset and duration is None) as sound:
        rate, start = sound.samplerate, round(offset * sound.samplerate)
        known = knows_length(sound)
        count = round(duration * rate) if duration is not None else sound.frames - start if known else None
        if count and known and 0 < start + count - sound.frames <= ROUNDED_SECONDS * rate:
            count = sound.frames - start
        if count is not None and count > max_seconds * rate:
            raise AudioTooLong(f"longer than {max_seconds:g} s")
        if count is not None and (count <= 0 or start >= sound.frames):
            raise AudioError("no samples")
        as_it_is = pcm and (sound.subtype, sound.channels, rate) == ("PCM_16", 1, SAMPLE_RATE)
        mono = _read(sound, start, count, max_seconds, "int16" if as_it_is else "float32")
    if len(mono) == 0:
        raise AudioError("no samples")
    if count is not None and len(mono) < count:
        raise AudioError(f"truncated: {len(mono)} of {count} samples")
    if not (as_it_is or np.isfinite(mono).all()):
        raise AudioError("NaN or infinite samples")
    return mono, rate


def _resampled(mono: np.ndarray, rate: int) -> np.ndarray:
    return mono if rate == SAMPLE_RATE else np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), np.float32)


def blocks(sound: soundfile.SoundFile, count: int | None = None, dtype: str = "float32") -> Iterator[np.ndarray]:
    """The next samples, channels averaged, in blocks; at most `count` of them."""
    left = count
    while left is None or left > 0:
        try:
            samples = sound.read(_BLOCK if left is None else min(_BLOCK, left), dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"truncated or damaged: {error.error_string}") from None
        if len(samples) == 0:
            return
        yield samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        left = None if left is None else left - len(samples)


def _read(sound: soundfile.SoundFile, start: int, count: int | None, max_seconds: float, dtype: str) -> np.ndarray:
    try:
        if start:
            sound.seek(start)
    except soundfile.LibsndfileError:
        raise AudioError(f"no samples at {start / sound.samplerate:g} s") from None
    parts, longest = [], max_seconds * sound.samplerate
    for block in blocks(sound, count, dtype):
        parts.append(block)
        longest -= len(block)
        if longest < 0:
            raise AudioTooLong(f"longer than {max_seconds:g} s")
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])
