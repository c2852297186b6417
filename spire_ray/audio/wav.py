"""Utterances as WAV files, to listen to and to send."""

import io

import numpy as np
import soundfile

from spire_ray.audio import decode
from spire_ray.settings import SAMPLE_RATE


def encode(samples: np.ndarray, form: str = "WAV") -> bytes:
    """Mono samples at 16 kHz, float32 in [-1, 1] or int16, as a file (FLAC: int16). Raises ValueError for another array."""
    if samples.ndim != 1 or samples.dtype not in (np.float32, np.float64, np.int16):
        raise ValueError(f"audio: {samples.dtype} {list(samples.shape)}: must be [samples], float32 or int16, at 16 kHz")
    buffer = io.BytesIO()
    subtype = "PCM_16" if samples.dtype == np.int16 else "FLOAT"
    soundfile.write(buffer, samples, SAMPLE_RATE, format=form, subtype=subtype)
    return buffer.getvalue()


def cut(source: bytes | str, offset: float = 0.0, duration: float | None = None) -> bytes:
    """An utterance as `decode.load_pcm` takes it → a 16-bit WAV file, mono at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, decode.load_pcm(source, offset, duration), SAMPLE_RATE, format="WAV")
    return buffer.getvalue()
