"""A model that keeps its own chat template is asked in it, by the server, by the evaluation and by the tool."""

import asyncio

import numpy as np
import pytest
import soundfile

from spire_ray.model.extend import extend
from spire_ray.settings import ExtendModelSettings, ServeSettings
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec
from tests.model import families

UNITS = np.array([1, 2, 3], np.uint16)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny_codebook):
    """A small Llama 3 that hears and keeps its chat."""
    folder = tmp_path_factory.mktemp("kept")
    base, model = families.make("llama-3", folder / "base"), str(folder / "model")
    extend(base, model, tiny_codebook.fingerprint, ExtendModelSettings(model="", codebook="", output="", chat="keep"))
    tiny_codebook.save(f"{model}/codebook")
    return model


@pytest.fixture
def asked(monkeypatch):
    """The prompts that were put to the model, as text."""
    seen, real = [], SpeechTokenizer.asked

    def recorded(self, given):
        seen.extend("".join(span.text if span.units is None else codec.encode(span.units) for span in spans) for spans in given)
        return real(self, given)

    monkeypatch.setattr(SpeechTokenizer, "asked", recorded)
    return seen


def rendered(model, content):
    """What Hugging Face makes of a question."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    messages = [{"role": "user", "content": content}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def spoken(question):
    return question.replace(prompts.SPEECH, codec.encode(UNITS))


def test_by_the_server(kept, asked, monkeypatch):
    from spire_ray.inference.asking import Wanted
    from spire_ray.serving.encoding import Encoding
    from spire_ray.serving.hearing import Hearing

    async def heard(self, samples):
        return UNITS, UNITS

    monkeypatch.setattr(Encoding, "__call__", heard)
    hearing = Hearing(ServeSettings(model=kept, output="", max_new_tokens=8))
    asked.clear()  # the warm-up

    async def ask():
        wanted = Wanted("en", ("de",), mode="direct")
        return [event async for event in hearing.answer(np.zeros(16_000, np.float32), wanted, False)]

    asyncio.run(ask())
    assert asked == [rendered(kept, spoken(question)) for question in (prompts.asr_prompt(), prompts.st_prompt("de"))]
    hearing.close()


def test_by_the_evaluation(kept):
    from tests.test_asked_as_trained import questions_of_the_evaluation

    asked = questions_of_the_evaluation(kept, ("asr", "st_direct", "mt"), "it")
    questions = (spoken(prompts.asr_prompt()), spoken(prompts.st_prompt("de")), prompts.mt_prompt("the dog", "en", "de"))
    assert asked == [rendered(kept, question) for question in questions]


def test_by_the_tool(kept, asked, tmp_path):
    from spire_ray.tools import transcribe

    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).standard_normal(16_000) / 8, 16_000)
    assert transcribe.main([str(tmp_path / "clip.wav"), "--model", kept, "--max-new-tokens", "8"]) == 0
    before, after = rendered(kept, prompts.asr_prompt()).split(prompts.SPEECH)
    assert asked[0].startswith(before) and asked[0].endswith(after)
