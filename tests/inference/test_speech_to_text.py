"""One object hears: whatever the audio comes in, however long it is, into one language or several."""

from dataclasses import replace
from itertools import pairwise
from unittest.mock import ANY

import numpy as np
import pytest
import soundfile

from spire_ray import SpeechToText
from spire_ray.inference.tasks import Tasks


@pytest.fixture(scope="module")
def model(tiny_model):
    return SpeechToText.from_pretrained(tiny_model, max_new_tokens=16, batch_size=4)


def noise(seconds, seed=0):
    return (np.random.default_rng(seed).standard_normal(round(16_000 * seconds)) / 8).astype(np.float32)


def test_a_file_its_bytes_and_its_samples_are_the_same_speech(model, tmp_path):
    pcm = np.round(noise(1.5) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "clip.wav", pcm, 16_000)
    given = [str(tmp_path / "clip.wav"), (tmp_path / "clip.wav").read_bytes(), pcm]
    one, *others = model.transcribe(given)
    assert one.text and others == [one, one]
    assert model.transcribe(pcm) == one  # alone as among others
    assert (one.language, one.seconds, one.translations) == ("en", 1.5, {})


def test_several_languages_at_once_are_those_one_by_one(model):
    both = model.transcribe(noise(1), to=["de", "French"])
    assert set(both.translations) == {"de", "fr"}
    assert both.text == model.transcribe(noise(1)).text
    for code, text in both.translations.items():
        alone = model.transcribe(noise(1), to=code, transcript=False)
        assert (alone.text, alone.translations) == ("", {code: text})


def test_a_long_recording_is_answered_piece_by_piece_in_order(model):
    found = model.transcribe(noise(3 * model.longest_seconds), to="de")
    assert len(found.segments) >= 3
    assert found.segments[0].start == 0 and found.seconds == pytest.approx(3 * model.longest_seconds)
    assert all(one.end == pytest.approx(other.start) for one, other in pairwise(found.segments))
    assert all(segment.end - segment.start <= model.longest_seconds + 1e-6 for segment in found.segments)
    assert found.text == " ".join(filter(None, (segment.text.strip() for segment in found.segments)))
    assert found.translations["de"].split() == " ".join(s.translations["de"] for s in found.segments).split()


@pytest.mark.parametrize("mode", ["direct", "two_turns", "cascade"])
def test_a_mode_is_a_way_to_ask(model, mode):
    """The answer is that of the tasks which evaluation asks."""
    [piece] = model.hear(noise(1))
    tasks, units = Tasks(model.generator), [piece.units]
    expected = {
        "direct": lambda: tasks.translate_speech(units, "de"),
        "two_turns": lambda: tasks.translate_in_turns(units, tasks.transcribe(units), "en", "de"),
        "cascade": lambda: tasks.translate_text(tasks.transcribe(units), "en", "de"),
    }
    [text] = expected[mode]()
    assert model.transcribe(noise(1), to="de", mode=mode).translations == {"de": text}
    assert model.transcribe(noise(1), to="de", mode=mode, transcript=False) == replace(
        model.transcribe(noise(1), to="de", mode=mode), text="", segments=ANY
    )


def test_without_a_mode_it_is_asked_as_it_was_trained(model, monkeypatch):
    """Two turns, where it was trained to, are far better than one."""
    by_mode = {mode: model.transcribe(noise(1), to="de", mode=mode).translations for mode in ("direct", "two_turns")}
    assert model.transcribe(noise(1), to="de").translations == by_mode["direct"]
    taught = replace(model.record, directions=("asr.en", "turns.en-de", "st.en-fr"))
    monkeypatch.setattr(model, "record", taught)
    monkeypatch.setattr(model.generator.tokenizer, "record", taught)
    assert model.transcribe(noise(1), to="de").translations == by_mode["two_turns"] != by_mode["direct"]
    with pytest.raises(ValueError, match=r"to=zh: .*for de, fr"):
        model.transcribe(noise(1), to="zh")
    with pytest.raises(ValueError, match="language=fr: the model was not trained to transcribe it; it was for en"):
        model.transcribe(noise(1), "fr")


@pytest.mark.parametrize("engine", ["padded", "transformers"])
def test_every_engine_answers_alike(model, tiny_model, engine):
    other = SpeechToText.from_pretrained(tiny_model, max_new_tokens=16, batch_size=4, engine=engine)
    long = noise(2.5 * model.longest_seconds, 3)
    assert other.transcribe([noise(1), long], to=["de", "fr"]) == model.transcribe([noise(1), long], to=["de", "fr"])
    other.generator.engine.close()


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (noise(0.001), "shorter than one frame"),
        (b"no audio", "not readable as audio"),
        ("/no/such.wav", "no such"),
        (np.zeros((2, 16_000), np.float32), r"float32 \[2, 16000\]: must be"),
        (np.zeros(16_000, np.int32), "int32"),
    ],
)
def test_what_is_no_speech_is_refused(model, audio, reason):
    with pytest.raises(ValueError, match=reason):
        model.transcribe(audio)
