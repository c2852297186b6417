"""Speech inside an HTML page: a short clip as a data URI."""

import base64
import io

import numpy as np
import soundfile

from spire_ray.settings import SAMPLE_RATE


def ogg(samples: np.ndarray) -> str:
    """float32 [samples] at 16 kHz → the data URI of an Ogg Vorbis file, at most some 8 kB a second."""
    made = io.BytesIO()
    soundfile.write(made, samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return f"data:audio/ogg;base64,{base64.b64encode(made.getvalue()).decode()}"
