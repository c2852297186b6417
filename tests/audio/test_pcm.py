"""16-bit samples and back."""

import numpy as np

from spire_ray.audio.pcm import from_pcm, to_pcm


def test_a_waveform_comes_back_within_one_step():
    waveform = np.array([-1.5, -1, -0.1, 0, 1e-6, 0.3, 1, 2], np.float32)
    there = to_pcm(waveform)
    assert there.dtype == np.int16
    assert np.abs(from_pcm(there) - waveform.clip(-1, 1)).max() <= 1 / 32_768


def test_every_sample_comes_back_exactly():
    every = np.arange(-32_768, 32_768).astype(np.int16)
    back = from_pcm(every)
    assert back.dtype == np.float32
    assert np.array_equal(back, every.astype(np.float64) / 32_768)
    assert np.array_equal(to_pcm(back), every)
