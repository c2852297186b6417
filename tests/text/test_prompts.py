"""The prompts of SPIRE, byte for byte: a model trained on others does not answer."""

import numpy as np
import pytest

from spire_ray.text import prompts
from spire_ray.text.chat import CHATML_TEMPLATE
from spire_ray.text.prompts import Turn
from spire_ray.units import codec

UNITS = np.array([0, 17, 4999], np.uint16)
SPOKEN = "\U000f0000\U000f0011\U000f1387"
MT = "Translate the following text from English to German.\nEnglish: the dog\nGerman:"


def text(spans):
    return "".join(span.text if span.units is None else codec.encode(span.units) for span in spans)


def answers(spans):
    parts = [span.text for span in spans if span.answer]
    return [answer + closing for answer, closing in zip(parts[::2], parts[1::2], strict=True)]


# --- continued pre-training -----------------------------------------------------------------------------------------


def test_cpt_transcription():
    assert text(prompts.completion(prompts.asr_prompt(), "the dog", UNITS)) == f"Speech: {SPOKEN}\nEnglish: the dog"


def test_cpt_translation():
    spans = prompts.completion(prompts.mt_completion("the dog", "en", "de"), "der Hund")
    assert text(spans) == "English: the dog\nGerman: der Hund"


def test_a_cpt_prompt_is_what_its_document_begins_with():
    document = text(prompts.completion(prompts.asr_prompt(), "the dog", UNITS))
    assert document.removeprefix(text(prompts.prompt(prompts.asr_prompt(), UNITS))) == " the dog"


def test_another_source_language_changes_its_name_alone():
    assert text(prompts.completion(prompts.asr_prompt("fr"), "le chien", UNITS)) == f"Speech: {SPOKEN}\nFrench: le chien"


# --- instruction tuning ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "units", "expected"),
    [
        pytest.param(
            [Turn(prompts.asr_prompt(), "the dog")],
            UNITS,
            f"<|im_start|>user\nSpeech: {SPOKEN}\nEnglish:<|im_end|>\n<|im_start|>assistant\nthe dog<|im_end|>\n",
            id="asr",
        ),
        pytest.param(
            [Turn(prompts.st_prompt("de"), "der Hund")],
            UNITS,
            f"<|im_start|>user\nSpeech: {SPOKEN}\nGerman:<|im_end|>\n<|im_start|>assistant\nder Hund<|im_end|>\n",
            id="st",
        ),
        pytest.param(
            prompts.multiturn("the dog", "der Hund", "en", "de"),
            UNITS,
            f"<|im_start|>user\nSpeech: {SPOKEN}\nEnglish:<|im_end|>\n<|im_start|>assistant\nthe dog<|im_end|>\n"
            "<|im_start|>user\nGerman:<|im_end|>\n<|im_start|>assistant\nder Hund<|im_end|>\n",
            id="multi-turn",
        ),
        pytest.param(
            [Turn(prompts.mt_prompt("the dog", "en", "de"), "der Hund")],
            None,
            f"<|im_start|>user\n{MT}<|im_end|>\n<|im_start|>assistant\nder Hund<|im_end|>\n",
            id="mt",
        ),
        pytest.param(
            [Turn(prompts.asr_prompt())],
            UNITS,
            f"<|im_start|>user\nSpeech: {SPOKEN}\nEnglish:<|im_end|>\n<|im_start|>assistant\n",
            id="asked for a transcript",
        ),
        pytest.param(
            prompts.multiturn("the dog", "", "en", "de"),
            UNITS,
            f"<|im_start|>user\nSpeech: {SPOKEN}\nEnglish:<|im_end|>\n<|im_start|>assistant\nthe dog<|im_end|>\n"
            "<|im_start|>user\nGerman:<|im_end|>\n<|im_start|>assistant\n",
            id="asked for the second turn",
        ),
    ],
)
def test_it_documents(turns, units, expected):
    spans = prompts.chat(turns, units)
    assert text(spans) == expected
    assert answers(spans) == [f"{turn.assistant}<|im_end|>" for turn in turns if turn.assistant]


@pytest.mark.parametrize(("code", "name"), [("de", "German"), ("zh", "Chinese"), ("pt", "Portuguese")])
def test_languages_stand_by_their_english_names(code, name):
    assert prompts.st_prompt(code).endswith(f"\n{name}:")
    assert prompts.mt_prompt("x", code, "en") == f"Translate the following text from {name} to English.\n{name}: x\nEnglish:"


# --- the chat template ----------------------------------------------------------------------------------------------


def test_the_chat_template_is_the_released_one():
    assert CHATML_TEMPLATE == (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
        "{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


CONVERSATIONS = [
    prompts.multiturn("the dog", "der Hund", "en", "de"),
    prompts.multiturn("the dog", "", "en", "de"),
    [Turn(prompts.asr_prompt())],
    [Turn(MT, "der Hund")],
    [Turn("one {{ 1 + 1 }}", "two"), Turn("three\nlines", "<b>four</b>"), Turn("five")],
]


def messages(turns):
    both = [("user", turn.user.replace(prompts.SPEECH, SPOKEN)) for turn in turns], [("assistant", t.assistant) for t in turns]
    said = [message for pair in zip(*both, strict=True) for message in pair if message[1]]
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_the_tokenizer_of_an_extended_model_renders_the_same_chat(turns, tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rendered = tokenizer.apply_chat_template(messages(turns), tokenize=False, add_generation_prompt=True)
    assert rendered == "<s>" + text(prompts.chat(turns, UNITS))  # which the tokenizer of this model puts before every text


def test_the_released_template_renders_a_system_turn_the_same_way(tiny_model):
    from transformers import AutoTokenizer

    turns = [Turn(MT, "der Hund")]
    said = [{"role": "system", "content": "Be brief."}, *messages(turns)]
    rendered = AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert rendered == "<s>" + text(prompts.chat(turns, system="Be brief."))


def test_without_a_generation_prompt_the_last_answer_stays_open(tiny_model):
    from transformers import AutoTokenizer

    turns = CONVERSATIONS[0]
    rendered = AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(messages(turns), tokenize=False)
    assert rendered + "<|im_end|>\n" == "<s>" + text(prompts.chat(turns, UNITS))
