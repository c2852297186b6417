"""Waveforms as WAV files."""

import io

import numpy as np
import soundfile

from spire_ray.audio.pcm import to_pcm
from spire_ray.settings import SAMPLE_RATE


def encode(waveform: np.ndarray) -> bytes:
    """float32 at 16 kHz → a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, to_pcm(waveform), SAMPLE_RATE, format="WAV")
    return buffer.getvalue()
