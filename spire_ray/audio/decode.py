"""Audio → mono at 16 kHz, float32 or 16-bit, or the reason why not.

A cut is found by seeking, so that the rest of the file is not decoded. Memory is bounded by the samples asked for: channels are
averaged and lengths enforced block by block. Float samples above 1, such as those of 16 bits written as floats, are scaled by
their peak.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import soxr

from spire_ray.audio.effects import NONE
from spire_ray.audio.pcm import to_pcm
from spire_ray.audio.sound import knows_length, reader
from spire_ray.audio.source import AudioError, AudioTooLong
from spire_ray.settings import SAMPLE_RATE

__all__ = ["NUMERICS", "AudioError", "AudioTooLong", "knows_length", "load", "load_pcm", "pcm", "reader"]

NUMERICS = {"decoder": f"libsndfile {soundfile.__libsndfile_version__}", "resampler": f"soxr {soxr.__version__}"}
"""What decides the last bits of a decoded waveform."""
LEVEL = "float samples above 1 are scaled by their peak"
"""For the identity of units: what is done to how loud a waveform is."""

_BLOCK = 1 << 19
"""Samples of one channel decoded at once: an utterance at 16 kHz, so that nothing has to be joined."""
_FINE = 1 << 12
"""The same, up to where a file breaks off."""
_LEAD_SECONDS = 1
"""A frame of an MP3 may use up to 511 bytes of those before it, which for the smallest, of 24 bytes, is 0.8 s; of Vorbis, that
was read elsewhere before, the first block after a seek is wrong, of up to 8,192 samples."""
_LED = ("MPEG", "VORBIS")
ROUNDED_SECONDS = 0.01
"""By which a duration in a manifest may be too long: they are written with two or three decimals."""


def load(
    source: bytes | str, offset: float = 0.0, duration: float | None = None, max_seconds: float = float("inf")
) -> np.ndarray:
    """Decode one utterance: float32 [samples], channels averaged, at 16 kHz.

    `offset` and `duration` are seconds. Raises AudioError for what is missing, not audio, cut short, empty, not finite or
    longer than `max_seconds`.
    """
    with opened(source, offset, duration, max_seconds) as sound:
        return resampled(*_decoded(sound, offset, duration, max_seconds))


def load_pcm(
    source: bytes | str, offset: float = 0.0, duration: float | None = None, max_seconds: float = float("inf")
) -> np.ndarray:
    """As `load`, but int16 PCM; samples that are 16-bit in the file, mono at 16 kHz, are not converted on the way."""
    with opened(source, offset, duration, max_seconds) as sound:
        return pcm(sound, offset, duration, max_seconds)


def pcm(
    sound: Any, offset: float, duration: float | None, max_seconds: float = float("inf"), past_end: float = ROUNDED_SECONDS
) -> np.ndarray:
    """As `load_pcm`, of a sound that is open; a part may end `past_end` seconds behind it."""
    samples, rate = _decoded(sound, offset, duration, max_seconds, past_end, as_pcm=True)
    return samples if samples.dtype == np.int16 else to_pcm(resampled(samples, rate))


def opened(source: bytes | str, offset: float, duration: float | None, max_seconds: float) -> Any:
    """The open sound of one utterance. Raises AudioError as `load` does."""
    check_part(offset, duration)
    needed = max_seconds if duration is None else min(duration, max_seconds)
    return reader(source, offset, needed, whole=not offset and duration is None)


def check_part(offset: float, duration: float | None) -> None:
    """Raise AudioError for what is no part of any recording."""
    for name, value in (("offset", offset), ("duration", duration)):
        if value is not None and not np.isfinite(value):
            raise AudioError(f"{name} is no number of seconds: {value}")
        if value is not None and value < 0:
            raise AudioError(f"negative {name}: {value:g} s")


def _decoded(
    sound: Any,
    offset: float,
    duration: float | None,
    max_seconds: float,
    past_end: float = ROUNDED_SECONDS,
    as_pcm: bool = False,
) -> tuple[np.ndarray, float]:
    """Samples of one channel and their rate; int16 where that is what is wanted at the end."""
    scale = sound.effects.scale
    offset, duration, max_seconds = offset * scale, None if duration is None else duration * scale, max_seconds * scale
    rate, start = sound.samplerate, round(offset * sound.samplerate)
    known = knows_length(sound)
    count = round(duration * rate) if duration is not None else sound.frames - start if known else None
    if count and known and 0 < start + count - sound.frames <= past_end * rate:
        count = sound.frames - start
    if count is not None and count > max_seconds * rate:
        raise AudioTooLong(f"longer than {max_seconds / scale:g} s")
    if count is not None and (count <= 0 or start >= sound.frames):
        raise AudioError("no samples")
    as_it_is = as_pcm and sound.effects == NONE and (sound.subtype, sound.channels, rate) == ("PCM_16", 1, SAMPLE_RATE)
    mono = _read(sound, start, count, max_seconds, "int16" if as_it_is else "float32")
    if len(mono) == 0:
        raise AudioError("no samples")
    if count is not None and len(mono) < count - (0 if duration is None else ROUNDED_SECONDS * rate):
        raise AudioError(f"truncated: {len(mono)} of {count} samples")
    if as_it_is:
        return mono, rate
    if not np.isfinite(mono).all():
        raise AudioError("NaN or infinite samples")
    heard: tuple[np.ndarray, float] = sound.effects.apply(leveled(mono, sound), rate)
    return heard


def leveled(mono: np.ndarray, sound: Any) -> np.ndarray:
    """Float samples above 1 scaled by their peak, where the file holds floats; what a decoder overshoots is clipped later."""
    if sound.subtype not in ("FLOAT", "DOUBLE") or not len(mono):
        return mono
    peak = float(np.abs(mono).max())
    return mono if peak <= 1 else np.asarray(mono / peak, np.float32)


def resampled(mono: np.ndarray, rate: float) -> np.ndarray:
    """float32 at 16 kHz."""
    return mono if rate == SAMPLE_RATE else np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), np.float32)


def blocks(sound: Any, count: int | None = None, dtype: str = "float32") -> Iterator[np.ndarray]:
    """The next samples, channels averaged, in blocks; at most `count` of them."""
    left, size, place = count, _BLOCK, sound.tell()
    while left is None or left > 0:
        try:
            samples = sound.read(size if left is None else min(size, left), dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            if size == _BLOCK and _back(sound, place):  # what stands before the break was lost with the block
                size = _FINE
                continue
            raise AudioError(f"truncated or damaged: {error.error_string}") from None
        if len(samples) == 0:
            return
        yield sound.effects.heard(samples)
        place += len(samples)
        left = None if left is None else left - len(samples)


def _back(sound: Any, place: int) -> bool:
    with contextlib.suppress(soundfile.LibsndfileError):
        return bool(sound.seekable() and sound.seek(place) == place)
    return False


def _read(sound: Any, start: int, count: int | None, max_seconds: float, dtype: str) -> np.ndarray:
    seek(sound, start)
    parts, longest = [], max_seconds * sound.samplerate
    for block in blocks(sound, count, dtype):
        parts.append(block)
        longest -= len(block)
        if longest < 0:
            raise AudioTooLong(f"longer than {max_seconds:g} s")
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])


def seek(sound: Any, sample: int) -> None:
    """Go to a sample. Raises AudioError where there is none."""
    if sound.tell() == sample:  # an MP3 that is sought in, even to its beginning, is decoded a little differently
        return
    lead = min(sample, sound.samplerate * _LEAD_SECONDS) if sound.subtype.startswith(_LED) else 0
    try:
        sound.seek(sample - lead)
        if lead:
            sound.read(lead)
    except soundfile.LibsndfileError:
        raise AudioError(f"no samples at {sample / sound.samplerate:g} s") from None
