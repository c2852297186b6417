"""Audio bytes or files → mono float32 at 16 kHz, or the reason why not."""

import io
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr

from spire_ray import storage
from spire_ray.settings import SAMPLE_RATE

_CUT_WAV = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile notes a WAV file with fewer bytes than its header promises; it reads what is there."""
_UNKNOWN_SIZE = 0x7FFF0000
"""From here on the size in a WAV header stands for unknown: the file was written into a pipe."""


class AudioError(ValueError):
    """Audio that cannot be used; the message is the reason its row is rejected with."""


class AudioTooLong(AudioError):
    """Audio longer than it may be."""


def load(
    source: bytes | str, offset: float = 0.0, duration: float | None = None, max_seconds: float = float("inf")
) -> np.ndarray:
    """Decode one utterance: float32 [samples], channels averaged, at 16 kHz.

    `offset` and `duration` are seconds. Raises AudioError for what is missing, not audio, empty, not finite or longer
    than `max_seconds`.
    """
    try:
        with soundfile.SoundFile(_open(source)) as file:
            rate = file.samplerate
            if duration is None and (cut := _CUT_WAV.search(file.extra_info)) and int(cut[1]) < _UNKNOWN_SIZE:
                raise AudioError(f"truncated: {cut[2]} of {cut[1]} bytes")
            if offset < 0:
                raise AudioError(f"negative offset: {offset:g} s")
            start = round(offset * rate)
            count = file.frames - start if duration is None else round(duration * rate)
            if count > max_seconds * rate:
                raise AudioTooLong(f"longer than {max_seconds:g} s")
            if start >= file.frames or count <= 0:
                raise AudioError("no samples")
            file.seek(start)
            samples = file.read(count, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"not readable as audio: {error.error_string}") from None
    if len(samples) == 0:
        raise AudioError("no samples")
    if len(samples) < count:
        raise AudioError(f"truncated: {len(samples)} of {count} samples")
    mono: np.ndarray = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioError("NaN or infinite samples")
    return mono if rate == SAMPLE_RATE else np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), np.float32)


def to_pcm(waveform: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] → int16, the form in which audio travels between processes."""
    return np.clip(np.round(waveform * 32768), -32768, 32767).astype(np.int16)


def from_pcm(samples: np.ndarray) -> np.ndarray:
    """int16 → float32 in [-1, 1]."""
    return samples.astype(np.float32) / 32768


def _open(source: bytes | str) -> "io.BytesIO | str":
    if isinstance(source, bytes):
        if not source:
            raise AudioError("empty file")
        return io.BytesIO(source)
    if not source:
        raise AudioError("no path and no bytes")
    if not storage.is_local(source):
        try:
            return io.BytesIO(storage.read_bytes(source))
        except OSError as error:
            raise AudioError(f"not readable: {error}") from None
    path = Path(source)
    if path.is_symlink() and not path.exists():
        raise AudioError("dangling link")
    if path.is_dir():
        raise AudioError("a folder, not a file")
    if not path.exists():
        raise AudioError("no such file")
    try:
        if path.stat().st_size == 0:
            raise AudioError("empty file")
        with path.open("rb"):
            return source
    except PermissionError:
        raise AudioError("no permission") from None
