"""Waveforms as WAV files."""

import io

import numpy as np
import soundfile

from spire_ray.audio import decode
from spire_ray.settings import SAMPLE_RATE


def encode(waveform: np.ndarray) -> bytes:
    """float32 at 16 kHz → a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, decode.to_pcm(waveform), SAMPLE_RATE, format="WAV")
    return buffer.getvalue()
