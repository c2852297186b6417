"""Distortions are as strong as they say, and the same each time."""

import numpy as np
import pytest

from spire_ray.audio.distortions import DISTORTIONS, parsed

RATE = 16_000


@pytest.fixture
def speech():
    draw = np.random.default_rng(0)
    return (np.sin(np.arange(2 * RATE) * 0.2) * draw.uniform(0.2, 0.4, 2 * RATE)).astype(np.float32)


@pytest.fixture
def others():
    return [(np.random.default_rng(n).standard_normal(RATE + n) / 9).astype(np.float32) for n in range(8)]


@pytest.mark.parametrize("name", ["noise", "babble", "music"])
@pytest.mark.parametrize("snr", [20, 5])
def test_noise_has_the_power_that_is_asked_for(speech, others, name, snr):
    noise = parsed(f"{name}={snr}").apply(speech, "a", 0, others).astype(np.float64) - speech
    assert 10 * np.log10(np.mean(speech.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.05)


def test_music_is_made_of_chords(others):
    """Three notes and their overtones hold the power of a beat, and the next beat has others."""
    silence = np.full(3 * RATE, 1e-3, np.float32)
    music = parsed("music=-20").apply(silence, "a", 0, others).astype(np.float64) - 1e-3
    beats = [np.abs(np.fft.rfft(music[n * 6400 : (n + 1) * 6400])) ** 2 for n in range(4)]
    for power in beats:
        strongest = np.sort(power)[::-1]
        assert strongest[:60].sum() > 0.9 * power.sum()
        assert 30 < power.argmax() * 2.5 < 900  # Hz
    assert len({int(power.argmax()) for power in beats}) > 1


def test_speed_changes_length_and_pitch(speech, others):
    faster = parsed("speed=1.25").apply(speech, "a", 0, others)
    assert len(faster) == pytest.approx(len(speech) / 1.25, abs=2)
    peaks = [np.abs(np.fft.rfft(each, 4 * RATE)).argmax() for each in (speech, faster)]
    assert peaks[1] / peaks[0] == pytest.approx(1.25, rel=0.01)


def test_a_telephone_lets_its_band_through_alone(others):
    noise = (np.random.default_rng(0).standard_normal(RATE) / 8).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(parsed("telephone=16").apply(noise, "a", 0, others))) ** 2
    assert spectrum[310:3390].mean() > 1e4 * max(spectrum[:290].mean(), spectrum[3410:].mean())
    coarse, fine = (parsed(f"telephone={bits}").apply(noise, "a", 0, others) for bits in (4, 12))
    assert len(np.unique(coarse)) <= 17 and len(np.unique(fine)) > 500


def test_clipping_cuts_its_share(speech, others):
    made = parsed("clipping=20").apply(speech, "a", 0, others)
    assert np.mean(np.abs(made) >= np.abs(made).max() - 1e-6) == pytest.approx(0.2, abs=0.01)


def test_a_room_fades_by_sixty_decibels(others):
    click = np.zeros(RATE, np.float32)
    click[0] = 0.5
    heard = parsed("room=0.5").apply(click, "a", 0, others).astype(np.float64)
    power = [np.mean(heard[int(RATE * t) : int(RATE * (t + 0.1))] ** 2) for t in (0.05, 0.35)]
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(60 * 0.3 / 0.5, abs=4)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_same_row_is_always_distorted_alike_and_stays_in_scale(speech, others, name):
    condition = parsed(f"{name}={max(DISTORTIONS[name][1][0], 2) if name != 'room' else 0.4}")
    first, again = (condition.apply(speech, "a", 0, others) for _ in range(2))
    assert np.array_equal(first, again) and np.abs(first).max() <= 1 and np.isfinite(first).all()
    if name in ("noise", "babble", "room"):
        assert not np.array_equal(first, condition.apply(speech, "b", 0, others))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois=3", "nois=3: did you mean noise"),
        ("noise", "noise: noise=NUMBER, white noise, dB of signal to noise, from -20 to 60"),
        ("speed=9", "speed=9: speed=NUMBER, times as fast"),
    ],
)
def test_what_is_no_condition_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parsed(text)
