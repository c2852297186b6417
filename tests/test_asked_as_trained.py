"""A base model is asked to continue, an instructed one in its chat, each in the form of the prompts that it was trained on."""

import asyncio
import shutil

import numpy as np
import pytest
import soundfile

from spire_ray.model.describe import describe
from spire_ray.settings import EvaluatedModel, EvaluateSettings, ServeSettings
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.tools import transcribe
from spire_ray.units import codec

UNITS = np.array([1, 2, 3], np.uint16)
SPOKEN = codec.encode(UNITS)
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
ASKED = {  # form, prompts → transcript, translation, text
    ("cpt", "spire-2025"): ("Speech:{}\nEnglish:", "Speech:{}\nGerman:", "English: the dog\nGerman:"),
    ("cpt", "spire-2026"): ("Speech: {}\nEnglish:", "Speech: {}\nGerman:", "English: the dog\nGerman:"),
    ("it", "spire-2025"): (
        CHAT.format("Speech: {}\n English:"),
        CHAT.format("Speech: {}\n German:"),
        CHAT.format("Translate the following text from English to German.\nEnglish: the dog\nGerman:"),
    ),
    ("it", "spire-2026"): (
        CHAT.format("Speech: {}\nEnglish:"),
        CHAT.format("Speech: {}\nGerman:"),
        CHAT.format("Translate the following text from English to German.\nEnglish: the dog\nGerman:"),
    ),
}


@pytest.fixture(params=ASKED, ids=" ".join)
def trained(request, tiny_model, tmp_path):
    """A model as its export describes it, and what it must be asked."""
    form, style = request.param
    folder = str(shutil.copytree(tiny_model, tmp_path / "model"))
    directions = ["asr.en", "mt.en-de", "st.en-de"]
    describe(folder, {"sources": [{"name": "a", "format": form}], "prompts": style, "directions": directions})
    return folder, ASKED[request.param]


@pytest.fixture
def asked(monkeypatch):
    """The prompts that were put to the model, as text."""
    seen, real = [], SpeechTokenizer.asked

    def recorded(self, given):
        seen.extend("".join(span.text if span.units is None else codec.encode(span.units) for span in spans) for spans in given)
        return real(self, given)

    monkeypatch.setattr(SpeechTokenizer, "asked", recorded)
    return seen


def test_by_the_server(trained, asked, monkeypatch):
    from spire_ray.inference.asking import Wanted
    from spire_ray.serving.encoding import Encoding
    from spire_ray.serving.hearing import Hearing

    async def heard(self, samples):
        return UNITS, UNITS

    monkeypatch.setattr(Encoding, "__call__", heard)
    hearing = Hearing(ServeSettings(model=trained[0], output="", max_new_tokens=8))
    asked.clear()  # the warm-up

    async def ask():
        wanted = Wanted("en", ("de",), mode="direct")
        return [event async for event in hearing.answer(np.zeros(16_000, np.float32), wanted, False)]

    asyncio.run(ask())
    assert asked == [question.format(SPOKEN) for question in trained[1][:2]]
    hearing.close()


def test_by_the_evaluation(trained):
    asked = questions_of_the_evaluation(trained[0], ("asr", "st_direct", "mt"))
    assert asked == [question.format(SPOKEN) for question in trained[1]]


def questions_of_the_evaluation(model, tasks, form=None):
    """The prompts about a row, as text."""
    from types import SimpleNamespace

    from spire_ray.evaluation.systems.llm import LanguageModel
    from spire_ray.evaluation.tasks import TASKS, Question
    from spire_ray.evaluation.test_set import Row
    from spire_ray.text.tokenizer import SpeechTokenizer

    system = LanguageModel(SimpleNamespace(tokenizer=SpeechTokenizer(model)), form)
    row = Row(utt_id="a", language="en", units=UNITS, text="the dog", translation="der Hund")
    asked = [system.prompt(TASKS[task].request(Question(row, "de"))) for task in tasks]
    return ["".join(span.text if span.units is None else codec.encode(span.units) for span in spans) for spans in asked]


def test_the_evaluation_says_what_was_not_trained(trained):
    from spire_ray.stages import evaluate

    tasks = ("asr", "asr_control", "mt", "mt_reverse", "st_direct", "st_control", "st_cascade", "st_gold")
    models = (EvaluatedModel(name="m", model=trained[0], tasks=tasks),)

    def settings(code):
        return EvaluateSettings(data="none", models=models, output="", source_language="en", target_language=code)

    of = {code: next(iter(evaluate.plan(settings(code)))) for code in ("de", "fr")}
    assert of["de"].endswith("; was not trained to do mt_reverse")
    assert of["fr"].endswith("; was not trained to do mt, mt_reverse, st_direct, st_control, st_cascade, st_gold")


def test_by_the_tool(trained, asked, tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).standard_normal(16_000) / 8, 16_000)
    assert transcribe.main([str(tmp_path / "clip.wav"), "--max-new-tokens", "8", "--model", trained[0], "--to", "de"]) == 0
    before, after = trained[1][1].split("{}")
    assert asked[0].startswith(before) and asked[0].endswith(after)


def test_a_form_that_a_folder_contradicts_is_refused(trained):
    from spire_ray.stages import evaluate

    form = "it" if trained[1][0].startswith("Speech") else "cpt"
    model = EvaluatedModel(name="m", model=trained[0], tasks=("asr",), format=form)
    with pytest.raises(ValueError, match=rf"models\.m\.format={form}: {trained[0]} says that it is asked as"):
        evaluate.plan(EvaluateSettings(data="none", models=(model,), output=""))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--to", "fr"], "to=fr: the model was not trained to translate speech in en into it; it was for de"),
        (["--to", "zh"], "to=zh: the model was not trained"),
        (["--language", "French"], "language=fr: the model was not trained to transcribe it; it was for en"),
        (["--language", "fr", "--to", "de"], "to=de: the model was not trained to translate speech in fr into it"),
    ],
)
def test_a_language_that_was_not_trained_is_refused_in_one_line(trained, options, reason, tmp_path, capsys):
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).standard_normal(16_000) / 8, 16_000)
    assert transcribe.main([str(tmp_path / "clip.wav"), "--max-new-tokens", "8", "--model", trained[0], *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert reason in line


def test_speech_in_another_language_is_refused_where_only_english_was_trained(trained):
    from spire_ray.text import record

    found = record.load(trained[0])
    found.require_direction("en")
    found.require_direction("en", "de")
    with pytest.raises(ValueError, match="language=fr: the model was not trained to transcribe it; it was for en"):
        found.require_direction("fr")


def test_the_server_refuses_it_in_the_terms_of_its_api(trained):
    from spire_ray.serving.languages import wanted
    from spire_ray.serving.refusal import Refusal
    from spire_ray.text import record

    found = record.load(trained[0])
    for source, targets, param, words in (("en", ["fr"], "to_language", "into de"), ("fr", [], "language", "hears en")):
        with pytest.raises(Refusal, match=words) as refused:
            wanted(found, source, targets, "")
        assert (refused.value.status_code, refused.value.param, refused.value.code) == (400, param, "untrained_language")


def test_audio_beyond_what_was_trained_is_cut(trained):
    from dataclasses import replace

    from spire_ray import SpeechToText
    from spire_ray.text import record

    replace(record.load(trained[0]), longest_units=50, longest_seconds=2.5).save(trained[0])
    model = SpeechToText.from_pretrained(trained[0], max_new_tokens=8)
    found = model.transcribe((np.random.default_rng(0).standard_normal(16_000 * 7) / 8).astype(np.float32))
    assert len(found.segments) > 2 and found.seconds == pytest.approx(7)
    assert all(segment.end - segment.start <= 2.5 for segment in found.segments)
