"""A clip that is written to be listened to has the samples that were labelled."""

import io

import numpy as np
import soundfile

from spire_ray.audio import decode, wav


def test_sixteen_bits_stay_as_they_are_in_the_cut_that_is_asked_for():
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 16_000, np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC", subtype="PCM_16")
    content = wav.cut(file.getvalue(), offset=0.25, duration=0.5)
    assert np.array_equal(decode.load_pcm(content), samples[4_000:12_000])
    assert soundfile.info(io.BytesIO(content)).subtype == "PCM_16"
