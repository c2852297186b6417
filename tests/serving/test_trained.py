"""The model that travels with the package: what is served under load is what the offline object says, clip by clip."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from spire_ray import SpeechToText
from spire_ray.quickstart.corpus import TEST_VOICES
from spire_ray.quickstart.espeak import Espeak
from spire_ray.quickstart.grammar import Grammar
from spire_ray.settings import ServeSettings
from tests.serving.conftest import audio, run

DEMO = str(Path(__file__).parents[2] / "spire_ray" / "quickstart" / "demo" / "model")


@pytest.mark.long
def test_served_text_is_offline_text_for_every_clip(http):
    from spire_ray.serving.hearing import Hearing

    draw, speaker = random.Random(5), Espeak()
    sentences = list(islice(Grammar(5).unique_sentences(), 100))
    clips = [audio(speaker.speak(sentence.text, draw.choice(TEST_VOICES)).samples) for sentence in sentences]
    speaker.close()
    expected = SpeechToText.from_pretrained(DEMO, max_new_tokens=48).transcribe(list(clips), to="de")
    hearing = Hearing(ServeSettings(model=DEMO, output="", max_new_tokens=48))
    url, end = run(ServeSettings(model=DEMO, output=""), hearing)

    def ask(clip):
        files = {"file": ("a.wav", clip)}
        english, german = (
            http.post(f"{url}/v1/audio/transcriptions", files=files, data=to) for to in ({}, {"to_language": "de"})
        )
        return english.json()["text"], german.json()["text"]

    with ThreadPoolExecutor(16) as pool:
        served = list(pool.map(ask, clips))
    end()
    hearing.close()
    assert served == [(found.text, found.translations["de"]) for found in expected]
    assert sum(english == sentence.text for (english, _), sentence in zip(served, sentences, strict=True)) > 50
