"""Speech is found, and long recordings are cut between stretches of it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.audio import decode, figures
from spire_ray.core import carried
from spire_ray.preparation import activity

RATE = 16_000
CLIP = str(carried.FOLDER.parent / "quickstart" / "demo" / "test-000000.flac")


@given(
    gaps=st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.05, 20)), max_size=20),
    longest=st.floats(1, 30),
    pause=st.floats(0.1, 3),
)
def test_pieces_hold_all_speech_are_not_too_long_and_have_no_long_pause(gaps, longest, pause):
    speech, at = [], 0.0
    for silence, length in gaps:
        speech.append((at + silence, at + silence + length))
        at = speech[-1][1]
    pieces = list(activity.pieces(speech, longest, pause))
    assert all(0 < end - begin <= longest + 1e-6 for begin, end in pieces)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(pieces))
    both = [(max(a[0], b[0]), min(a[1], b[1])) for a in pieces for b in speech]
    covered = sum(end - begin for begin, end in both if begin < end)
    assert covered == pytest.approx(sum(end - begin for begin, end in speech))
    inside = [(a[1], b[0]) for a, b in pairwise(speech) if b[0] - a[1] > pause]
    assert not any(begin < gap[0] < gap[1] < end for begin, end in pieces for gap in inside)


def test_silero_finds_speech_between_silence_and_none_in_noise():
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    silero, speech = activity.DETECTORS["silero"](), decode.load(CLIP)
    noise = (np.random.default_rng(0).standard_normal(RATE * 2) / 300).astype(np.float32)
    found = silero(np.concatenate([noise, speech, noise, speech, noise]), 0.5)
    assert not silero(np.tile(noise, 3), 0.5)
    ends = [2, 2 + len(speech) / RATE, 4 + len(speech) / RATE, 4 + 2 * len(speech) / RATE]
    assert all(any(ends[i] - 0.3 < begin and end < ends[i + 1] + 0.3 for i in (0, 2)) for begin, end in found)
    assert sum(end - begin for begin, end in found) > 0.5 * 2 * len(speech) / RATE
    assert silero.name.startswith("silero-vad 6.")


def test_a_detector_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(activity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"speech.detector=silero: pip install 'spire-ray\[prepare\]'"):
        activity.DETECTORS["silero"]()


@pytest.mark.parametrize("wanted", [5, 15, 30])
def test_signal_to_noise_is_what_was_mixed(wanted):
    """Bursts of a tone, half of the time, over steady noise."""
    draw, time = np.random.default_rng(1), np.arange(RATE * 10) / RATE
    tone = np.sin(2 * np.pi * 220 * time) * (time % 1 < 0.5) * 0.1
    noise = draw.standard_normal(len(time)) * np.sqrt(0.005 / 10 ** (wanted / 10))
    assert figures.snr((tone + noise).astype(np.float32)) == pytest.approx(wanted, abs=1.5)


def test_digital_silence_and_nothing_have_figures():
    assert figures.snr(np.zeros(RATE, np.int16)) == 0 and figures.clipping(np.zeros(RATE, np.int16)) == 0
    assert figures.snr(np.zeros(0, np.int16)) == 0 and figures.clipping(np.zeros(0, np.int16)) == 0


def test_clipped_samples_are_counted_and_peaks_are_not():
    sine = np.sin(np.arange(RATE) * 0.05).astype(np.float32)
    assert figures.clipping(sine * 0.5) == 0
    clipped = np.clip(sine, -0.5, 0.5)
    assert figures.clipping(clipped) == pytest.approx(np.mean(np.abs(sine) >= 0.5), abs=0.001)
    as_pcm = (clipped * 32767).astype(np.int16)
    assert figures.clipping(as_pcm) == pytest.approx(figures.clipping(clipped), abs=0.01)
