"""Recipes: what a source makes of its rows, and what it refuses."""

import json
import re
from dataclasses import replace

import pytest

from spire_ray.packs import filters, mixture
from spire_ray.packs.mixture import SkipRow
from spire_ray.settings import FilterSettings, SourceSettings
from spire_ray.text.chat import CHATML
from spire_ray.units import codec


def row(number=0, **changes):
    base = {
        "utt_id": f"u{number}",
        "text": "the dog",
        "language": "en",
        "translations": [("de", "der Hund")],
        "units": [1, 2, 3],
        "conversations": None,
    }
    return {**base, **changes}


def source(task, **changes):
    return SourceSettings(**{"task": task, "data": "d", "target_language": "" if task in ("asr", "text") else "de", **changes})


def text(document):
    spoken = "\U000f0001\U000f0002\U000f0003"
    return "".join(s.text if s.units is None else codec.encode(s.units) for s in document.spans).replace(spoken, "~")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (source("asr"), "Speech: ~\nEnglish: the dog"),
        (source("mt"), "English: the dog\nGerman: der Hund"),
        (source("mt", source_language="de", target_language="en"), "German: der Hund\nEnglish: the dog"),
        (source("text"), "the dog"),
        (source("text", source_language="de"), "der Hund"),
    ],
)
def test_cpt_documents(given, expected):
    document = mixture.prompted(given, row())
    assert text(document) == expected
    assert document.everything_counts
    assert document.utt_id == "u0"


@pytest.mark.parametrize(
    ("task", "questions", "answers"),
    [
        ("asr", ["Speech: ~\nEnglish:"], ["the dog"]),
        ("st", ["Speech: ~\nGerman:"], ["der Hund"]),
        ("st_multiturn", ["Speech: ~\nEnglish:", "German:"], ["the dog", "der Hund"]),
        ("mt", ["Translate the following text from English to German.\nEnglish: the dog\nGerman:"], ["der Hund"]),
    ],
)
def test_it_documents(task, questions, answers):
    document = mixture.prompted(source(task, format="it"), row())
    turns = zip(questions, answers, strict=True)
    expected = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n" for q, a in turns]
    assert text(document) == "".join(expected)
    assert [span.text for span in document.spans if span.answer] == [p for answer in answers for p in (answer, "<|im_end|>")]
    assert not document.everything_counts


@pytest.mark.parametrize(
    ("task", "form", "expected"),
    [
        ("asr", "cpt", "Speech: ~\nPortuguese: o cão"),
        ("asr", "it", "<|im_start|>user\nSpeech: ~\nPortuguese:<|im_end|>\n<|im_start|>assistant\no cão<|im_end|>\n"),
        ("mt", "cpt", "Portuguese: o cão\nEnglish: the dog"),
    ],
)
def test_the_language_of_a_row_labels_its_transcript(task, form, expected):
    portuguese = row(text="o cão", language="pt", translations=[("en", "the dog")])
    given = source(task, format=form, target_language="en" if task == "mt" else "")
    assert text(mixture.prompted(given, portuguese)) == expected


UNUSABLE = [
    ("asr", {"units": []}, "no units"),
    ("asr", {"units": None}, "no units"),
    ("asr", {"text": None}, "no text: in en"),
    ("asr", {"text": " \n"}, "no text: in en"),
    ("asr", {"language": "xx"}, "unknown language: language 'xx' is unknown"),
    ("asr", {"language": None}, "no language, which source_language would say"),
    ("asr", {"status": "rejected", "error": "not readable as audio"}, "not labelled: not readable as audio"),
    ("mt", {"translations": None}, "no translation: in de"),
    ("mt", {"translations": [("fr", "le chien")]}, "no translation: in de"),
    ("st", {"translations": [("de", "")]}, "no translation: in de"),
    ("st", {"text": None}, "no text: in en"),
    ("st_multiturn", {"units": []}, "no units"),
    ("text", {"text": ""}, "no text: in en"),
    ("asr", {"conversations": json.dumps([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])}, "a conversation: "),
]


@pytest.mark.parametrize(("task", "lacking", "reason"), UNUSABLE)
def test_a_row_that_lacks_what_the_task_needs_is_refused_with_the_reason(task, lacking, reason):
    given = source(task, format="it" if task.startswith("st") else "cpt")
    with pytest.raises(SkipRow, match=f"^{re.escape(reason)}"):
        mixture.prompted(given, row(0, **lacking))


@pytest.mark.parametrize("task", ["st", "st_multiturn", "mt"])
def test_no_row_is_translated_into_its_own_language(task):
    given = row(translations=[("de", "der Hund"), ("en", "the dog"), ("fr", None)])
    chosen = source(task, target_language=mixture.ANY, format="it")
    assert [each.target_language for each in mixture.each_target(chosen, given)] == ["de", "fr"]
    with pytest.raises(SkipRow, match="no translation: en is the language of the row itself"):
        mixture.prompted(source(task, target_language="en", format="it"), given)


def test_what_is_spoken_in_another_language_is_no_transcript():
    with pytest.raises(SkipRow, match="another language: en is spoken, not de"):
        mixture.prompted(source("asr", source_language="de"), row())


def test_text_tasks_need_no_units():
    lean = {key: value for key, value in row().items() if key not in ("units", "conversations")}
    assert mixture.prompted(source("mt"), lean).utt_id == "u0"


def conversation(turns):
    return json.dumps([{"from": speaker, "value": value} for speaker, value in turns])


def test_conversations_become_chats():
    turns = [("human", "Hi"), ("gpt", "Hello"), ("human", "Bye"), ("gpt", "See you")]
    document = mixture.prompted(source("text", format="it"), row(conversations=conversation(turns)))
    assert text(document) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSee you<|im_end|>\n"
    )


def test_a_system_turn_stands_first_and_bears_no_loss():
    turns = [("system", "Be kind"), ("human", "Hi"), ("gpt", "Hello")]
    document = mixture.prompted(source("text", format="it"), row(conversations=conversation(turns)))
    assert text(document) == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    )
    assert [span.text for span in document.spans if span.answer] == ["Hello", "<|im_end|>"]
    without = replace(CHATML, system="", instructed="")
    with pytest.raises(SkipRow, match=r"^system turn: the chat template of the model has no form for it$"):
        mixture.prompted(source("text", format="it"), row(conversations=conversation(turns)), markup=without)


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [("human", "Hi")],
        [("gpt", "Hello"), ("human", "Hi")],
        [("human", "Hi"), ("human", "Hi")],
        [("system", "Be kind")],
        [("system", ""), ("human", "Hi"), ("gpt", "Hello")],
        [("human", "Hi"), ("system", "Be kind"), ("gpt", "Hello")],
        [("human", "Hi"), ("gpt", "")],
        [("human", " "), ("gpt", "Hello")],
        [("human", "Hi"), ("gpt", None)],
    ],
)
def test_a_malformed_conversation_is_refused(turns):
    with pytest.raises(SkipRow, match=r"^malformed conversation: human and gpt must alternate|^empty turn"):
        mixture.prompted(source("text", format="it"), row(conversations=conversation(turns)))


@pytest.mark.parametrize(
    "talk", ['[{"role": "user", "content": "Hi"}]', '[{"from": "human"}]', '["Hi"]', '{"from": "human"}', '"Hi"', "5", "Hi"]
)
def test_a_conversation_in_another_form_is_refused(talk):
    with pytest.raises(SkipRow, match=r'^malformed conversation: expected a JSON list of \{"from": …, "value": …\}'):
        mixture.prompted(source("text", format="it"), row(7, conversations=talk))


def test_plain_text_in_the_it_format_is_refused():
    with pytest.raises(SkipRow, match=r"^no conversations: "):
        mixture.prompted(source("text", format="it"), row())


@pytest.mark.parametrize(
    ("limits", "changes", "reason"),
    [
        ({"length_ratio": 3}, {"translations": [("de", "x" * 30)]}, "length ratio: 4.3 is above 3"),
        ({"characters_per_second": (1, 5)}, {"duration": 1.0}, "characters per second: 7.0 is not within 1 to 5"),
        ({"characters_per_second": (8, 0)}, {"duration": 1.0}, "characters per second: 7.0 is not within 8 to 0"),
        ({"unit_entropy": 1.0}, {"units": [4] * 9 + [5]}, "unit entropy: 0.47 bits are below 1"),
        ({"languages": ("de", "fr")}, {}, "language: en is not one of de, fr"),
    ],
)
def test_a_filter_leaves_out_what_is_beyond_its_limit_and_says_by_how_much(limits, changes, reason):
    given = source("st", format="it", filters=FilterSettings(**limits))
    with pytest.raises(SkipRow, match=f"^{re.escape(reason)}$"):
        filters.check(given, row(**changes))
    if "languages" not in limits:
        filters.check(given, row(duration=2.0 if limits.get("characters_per_second") == (1, 5) else 0.5))


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ([source("st", target_language="")], r"sources\.st\.target_language: st needs one"),
        ([source("mt", target_language="")], r"sources\.mt\.target_language: mt needs one"),
        ([source("st", format="cpt")], r"sources\.st\.de\.format=cpt: the task st exists in the format it only"),
        ([source("mt", target_language="xx")], "language 'xx' is unknown"),
        ([source("mt", source_language="de")], r"sources\.mt\.de-de\.target_language=de: is the source language itself"),
        ([source("mt", units=1e6)], r"sources\.mt\.de\.units: mt has no speech"),
        ([source("asr", units=1e6, tokens=1e6)], r"sources\.asr: a budget is either tokens or units"),
        ([source("asr", units=1e6, weight=2)], r"sources\.asr\.weight=2: a source with a budget is repeated by max_epochs"),
        ([source("asr"), source("asr", data="e")], r"sources\.asr: two sources of this name"),
    ],
)
def test_recipes_that_cannot_be_are_refused(sources, reason):
    with pytest.raises(ValueError, match=reason):
        mixture.check(sources)


def test_a_good_recipe_passes():
    mixture.check(
        [source("asr"), source("asr", name="more"), source("mt"), source("st", format="it"), source("text", weight=0.1)]
    )


@pytest.mark.parametrize(
    ("task", "given", "changes", "made"),
    [
        ("asr", {"source_language": "en"}, {"language": None}, "English: the dog"),
        ("mt", {"source_language": "en"}, {"language": None}, "English: the dog\nGerman: der Hund"),
        # the row's text is not German: its translation is
        ("mt", {"source_language": "de", "target_language": "en"}, {"language": None}, "no translation: in en"),
        ("asr", {}, {"language": None}, "no language, which source_language would say"),
    ],
)
def test_a_row_that_names_no_language_is_in_that_of_its_source(task, given, changes, made):
    asked = source(task, **given)
    try:
        found = text(mixture.prompted(asked, mixture.in_its_language(asked, row(**changes))))
    except SkipRow as reason:
        found = str(reason)
    assert made in found
