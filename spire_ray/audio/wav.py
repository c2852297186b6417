"""Utterances as WAV files, to listen to and to send."""

import io

import soundfile

from spire_ray.audio import decode
from spire_ray.settings import SAMPLE_RATE


def cut(source: bytes | str, offset: float = 0.0, duration: float | None = None) -> bytes:
    """An utterance as `decode.load_pcm` takes it → a 16-bit WAV file, mono at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, decode.load_pcm(source, offset, duration), SAMPLE_RATE, format="WAV")
    return buffer.getvalue()
