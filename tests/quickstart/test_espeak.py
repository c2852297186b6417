"""espeak-ng speaks what it is given, in the voice it is given, and says where each phoneme is."""

import time

import numpy as np
import pytest

from spire_ray.quickstart.corpus import DEV_VOICES, TEST_VOICES, TRAIN_VOICES
from spire_ray.quickstart.espeak import Espeak, check_voice


@pytest.fixture
def espeak():
    espeak = Espeak()
    yield espeak
    espeak.close()


@pytest.mark.parametrize(
    ("voice", "reason"),
    [
        ("xx+m1", "voice 'xx\\+m1': no language 'xx'; choose one of en"),
        ("en-US+nobody", "voice 'en-US\\+nobody': no variant 'nobody'; choose one of .*m1"),
        ("", "no language ''"),
    ],
)
def test_an_unknown_voice_is_refused_and_known_ones_listed(espeak, voice, reason):
    with pytest.raises(ValueError, match=reason):
        espeak.speak("the dog", voice)


@pytest.mark.parametrize("voice", [*TRAIN_VOICES, *DEV_VOICES, *TEST_VOICES])
def test_every_voice_of_the_corpus_exists(voice):
    check_voice(voice)


def test_a_clip_is_16_bit_audio_at_16_khz_of_a_plausible_length(espeak):
    speech = espeak.speak("the big dog sleeps in the garden", "en-US+m1")
    assert speech.samples.dtype == np.int16
    assert speech.samples.ndim == 1
    assert 1.0 < len(speech.samples) / 16_000 < 4.0
    assert np.abs(speech.samples).max() > 3_000


def test_phonemes_cover_the_clip_without_a_gap(espeak):
    speech = espeak.speak("the dog sleeps", "en-US+m1")
    starts, ends = [start for _, start, _ in speech.phonemes], [end for *_, end in speech.phonemes]
    assert starts[0] == pytest.approx(0, abs=0.02)
    assert ends[:-1] == starts[1:]
    assert ends[-1] == pytest.approx(len(speech.samples) / 16_000)
    assert all(start <= end for _, start, end in speech.phonemes)
    said = "".join(symbol for symbol, *_ in speech.phonemes)
    assert "d" in said and "ɡ" in said and "sl" in said


def test_a_fresh_espeak_says_the_same_sequence_again():
    def said():
        espeak = Espeak()
        spoken = [("a red apple", "en-US+f3"), ("my brother", "en-US+m1"), ("a red apple", "en-US+f3")]
        samples = [espeak.speak(text, voice).samples for text, voice in spoken]
        espeak.close()
        return samples

    first = said()
    time.sleep(1.1 - time.time() % 1)  # espeak-ng by itself seeds its noise with the second
    for one, again in zip(first, said(), strict=True):
        assert np.array_equal(one, again)


def test_a_clip_a_little_longer_than_three_seconds_is_the_same_every_time():
    """soxr resamples 16-bit audio of this length in two pieces, and rounds the second one as if by lot."""

    def said():
        espeak = Espeak()
        samples = espeak.speak("a red apple my brother house old river sees", "en-US+f3", 150).samples
        espeak.close()
        return samples

    first, *others = (said() for _ in range(8))
    assert 48_000 < len(first) < 48_150
    assert all(np.array_equal(one, first) for one in others)


def test_voice_rate_and_pitch_are_heard(espeak):
    plain = espeak.speak("a red apple", "en-US+f1", 150, 50)
    assert len(espeak.speak("a red apple", "en-US+f1", 200, 50).samples) < 0.9 * len(plain.samples)
    for other in (espeak.speak("a red apple", "en-US+m1", 150, 50), espeak.speak("a red apple", "en-US+f1", 150, 30)):
        assert not np.array_equal(other.samples, plain.samples)
