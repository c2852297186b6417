"""Long recordings → pieces that begin and end at quiet places, in bounded memory.

A cut depends on the audio around it alone: two workers that hold neighbouring windows of one recording find the same place, so
their pieces join without gap or overlap.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from spire_ray.audio import decode
from spire_ray.audio.source import AudioError

_HOP, _SMOOTHED = 0.01, 10
"""Loudness is taken every 10 ms and averaged over ten of them."""
_LEAST_SECONDS = 1.0
"""Of a piece."""


def pieces(
    source: bytes | str,
    longest: float,
    begin: float = 0.0,
    end: float | None = None,
    *,
    origin: float = 0.0,
    exact_end: bool = False,
) -> Iterator[tuple[float, np.ndarray]]:
    """(start in seconds, float32 at 16 kHz) of every piece of a recording between two moments.

    Pieces are at most `longest` seconds. `begin` and `end` move back to the quietest place of the half piece before them,
    except for a beginning at `origin`, an exact end and the end of the recording (None). Raises AudioError as decoding does,
    and for an end that comes too early, after the pieces before it.
    """
    first = max(0.0, begin - longest / 2)
    with decode.reader(source, first, float("inf") if end is None else end - first, whole=False) as sound:
        if sound.effects.steps:
            raise AudioError("a recording with effects is not cut: make it a file of its own first")
        rate = sound.samplerate
        start = round(origin * rate) if begin <= origin else _boundary(sound, begin, longest)
        stop = None if end is None else round(end * rate) if exact_end else _boundary(sound, end, longest)
        decode.seek(sound, start)
        for waveform in _split(sound, start, stop, longest):
            if not np.isfinite(waveform).all():
                raise AudioError("NaN or infinite samples")
            yield start / rate, decode.resampled(decode.leveled(waveform, sound), rate)
            start += len(waveform)
        if stop is None and decode.knows_length(sound):
            stop = sound.frames
    if stop is not None and start < stop - decode.ROUNDED_SECONDS * rate:
        raise AudioError(f"truncated: {start} of {stop} samples")


def _split(sound: Any, start: int, stop: int | None, longest: float) -> Iterator[np.ndarray]:
    rate = sound.samplerate
    limit, rest = round(longest * rate), round(_LEAST_SECONDS * rate)
    waiting = np.zeros(0, np.float32)
    broken: AudioError | None = None
    try:
        for block in decode.blocks(sound, None if stop is None else stop - start):
            waiting = np.concatenate([waiting, block])
            while len(waiting) >= limit + rest:
                cut = limit // 2 + _quietest(waiting[limit // 2 : limit], rate)
                yield waiting[:cut]
                waiting = waiting[cut:]
    except AudioError as error:  # after what stands before the break
        broken = error
    if len(waiting) > limit:
        cut = limit // 2 + _quietest(waiting[limit // 2 : len(waiting) - rest], rate)
        yield waiting[:cut]
        waiting = waiting[cut:]
    if len(waiting):
        yield waiting
    if broken:
        raise broken


def _boundary(sound: Any, second: float, longest: float) -> int:
    """The quietest sample of the half piece before a moment."""
    rate: int = sound.samplerate
    begin, stop = round((second - longest / 2) * rate), round(second * rate)
    decode.seek(sound, begin)
    samples = np.concatenate([np.zeros(0, np.float32), *decode.blocks(sound, stop - begin)])
    if len(samples) < stop - begin:
        raise AudioError(f"truncated: ends before {second:g} s")
    return begin + _quietest(samples, rate)


def _quietest(samples: np.ndarray, rate: int) -> int:
    """The middle of the quietest tenth of a second; of equals the last one."""
    hop = max(1, round(_HOP * rate))
    power = np.square(samples[: len(samples) // hop * hop].astype(np.float64)).reshape(-1, hop).mean(axis=1)
    if len(power) < _SMOOTHED:
        return len(samples) // 2
    loudness = np.convolve(power, np.ones(_SMOOTHED), "valid")
    last = len(loudness) - 1 - int(np.argmin(loudness[::-1]))
    return int(last + _SMOOTHED // 2) * hop
