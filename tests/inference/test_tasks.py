"""What a model is asked, for base models and for instruction-tuned ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from spire_ray.inference.tasks import Tasks
from spire_ray.text.chat import CHATML
from spire_ray.units import codec

UNITS = np.array([1, 2], np.uint16)
SPOKEN = "\U000f0001\U000f0002"


class Echo:
    """A generator that answers with its prompt."""

    def __init__(self, form, style="spire-2026"):
        self.tokenizer = SimpleNamespace(chat=CHATML, record=SimpleNamespace(form=form, prompts=style))

    def __call__(self, prompts):
        return ["".join(s.text if s.units is None else codec.encode(s.units) for s in spans) for spans in prompts]


def user(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ("cpt", [f"Speech: {SPOKEN}\nEnglish:", f"Speech: {SPOKEN}\nGerman:", "English: the dog\nGerman:"]),
        (
            "it",
            [
                user(f"Speech: {SPOKEN}\nEnglish:"),
                user(f"Speech: {SPOKEN}\nGerman:"),
                user("Translate the following text from English to German.\nEnglish: the dog\nGerman:"),
            ],
        ),
    ],
)
def test_a_model_is_asked_in_the_form_it_was_trained_in(form, asked):
    tasks = Tasks(Echo(form))
    assert [
        *tasks.transcribe([UNITS]),
        *tasks.translate_speech([UNITS], "de"),
        *tasks.translate_text(["the dog"], "en", "de"),
    ] == asked


def test_another_form_can_be_asked_for():
    assert Tasks(Echo("it")).translate_text(["the dog"], "en", "de", form="cpt") == ["English: the dog\nGerman:"]


def test_the_second_turn_holds_the_models_own_transcript():
    asked = Tasks(Echo("it")).translate_in_turns([UNITS, UNITS[:1]], ["the dog", "a cat"], "en", "de")
    first = user(f"Speech: {SPOKEN}\nEnglish:") + "the dog<|im_end|>\n" + user("German:")
    assert asked == [first, first.replace(SPOKEN, SPOKEN[0]).replace("the dog", "a cat")]


def test_speech_in_another_language_is_asked_about_by_its_name():
    assert Tasks(Echo("cpt")).transcribe([UNITS], "fr") == [f"Speech: {SPOKEN}\nFrench:"]
