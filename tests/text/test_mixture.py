"""Recipes: what a source makes of its rows, and what it refuses."""

import json

import pytest

from spire_ray.settings import Source
from spire_ray.text import mixture
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
    return Source(**{"task": task, "data": "d", "target_language": "" if task in ("asr", "text") else "de", **changes})


def texts(documents):
    spoken = "\U000f0001\U000f0002\U000f0003"
    joined = ["".join(s.text if s.units is None else codec.to_text(s.units) for s in d.spans) for d in documents]
    return [text.replace(spoken, "~") for text in joined]


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
    (document,) = mixture.documents(given, [row()], seed=0)
    assert texts([document]) == [expected]
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
    (document,) = mixture.documents(source(task, format="it"), [row()], seed=0)
    turns = zip(questions, answers, strict=True)
    expected = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n" for q, a in turns]
    assert texts([document]) == ["".join(expected)]
    assert [span.text for span in document.spans if span.answer] == [f"{answer}<|im_end|>" for answer in answers]
    assert not document.everything_counts


@pytest.mark.parametrize(
    ("weight", "count"),
    [(1, 10), (2, 20), (0.5, 5), (2.3, 23), (0.04, 0)],
)
def test_the_weight_says_how_often_rows_are_used(weight, count):
    rows = [row(i) for i in range(10)]
    made = [document.utt_id for document in mixture.documents(source("asr", weight=weight), rows, seed=0)]
    assert len(made) == count
    uses = [made.count(r["utt_id"]) for r in rows]
    assert max(uses) - min(uses) <= 1


def test_the_seed_decides_which_share_of_the_rows_is_used():
    rows = [row(i) for i in range(40)]
    one, again, other = ([d.utt_id for d in mixture.documents(source("asr", weight=0.5), rows, seed=seed)] for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(
    ("task", "lacking"),
    [
        ("asr", {"units": []}),
        ("asr", {"units": None}),
        ("asr", {"text": None}),
        ("asr", {"text": ""}),
        ("asr", {"language": "fr"}),
        ("mt", {"translations": None}),
        ("mt", {"translations": [("fr", "le chien")]}),
        ("st", {"translations": [("de", "")]}),
        ("st", {"text": None}),
        ("st_multiturn", {"units": []}),
        ("text", {"text": ""}),
        ("asr", {"conversations": json.dumps([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])}),
    ],
)
def test_a_row_that_lacks_what_the_task_needs_makes_no_document(task, lacking):
    given = source(task, format="it" if task.startswith("st") else "cpt")
    made = mixture.documents(given, [row(0, **lacking), row(1)], seed=0)
    assert [document.utt_id for document in made] == ["u1"]


def test_text_tasks_need_no_units():
    rows = [{key: value for key, value in row().items() if key not in ("units", "conversations")}]
    assert len(mixture.documents(source("mt"), rows, seed=0)) == 1


def test_conversations_become_chats():
    turns = [("human", "Hi"), ("gpt", "Hello"), ("human", "Bye"), ("gpt", "See you")]
    talk = json.dumps([{"from": speaker, "value": value} for speaker, value in turns])
    (document,) = mixture.documents(source("text", format="it"), [row(conversations=talk)], seed=0)
    assert texts([document]) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSee you<|im_end|>\n"
    ]


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [("human", "Hi")],
        [("gpt", "Hello"), ("human", "Hi")],
        [("human", "Hi"), ("human", "Hi")],
        [("system", "Be kind"), ("human", "Hi"), ("gpt", "Hello")],
        [("human", "Hi"), ("gpt", "")],
        [("human", ""), ("gpt", "Hello")],
        [("human", "Hi"), ("gpt", None)],
    ],
)
def test_a_malformed_conversation_is_refused(turns):
    talk = json.dumps([{"from": speaker, "value": value} for speaker, value in turns])
    with pytest.raises(ValueError, match="u0: conversations: human and gpt must alternate and no turn be empty"):
        mixture.documents(source("text", format="it"), [row(conversations=talk)], seed=0)


@pytest.mark.parametrize(
    "talk", ['[{"role": "user", "content": "Hi"}]', '[{"from": "human"}]', '["Hi"]', '{"from": "human"}', '"Hi"', "5", "Hi"]
)
def test_a_conversation_in_another_form_is_refused_and_its_row_named(talk):
    with pytest.raises(ValueError, match=r'u7: conversations: expected a JSON list of \{"from": …, "value": …\}'):
        mixture.documents(source("text", format="it"), [row(7, conversations=talk)], seed=0)


@pytest.mark.parametrize("task", ["st", "st_multiturn"])
def test_speech_translation_in_the_cpt_format_is_refused(task):
    with pytest.raises(ValueError, match=rf"sources\.{task}\.en-de\.format=cpt: the task {task} exists in the format it only"):
        mixture.documents(source(task), [row()], seed=0)


def test_plain_text_in_the_it_format_is_refused():
    with pytest.raises(ValueError, match=r"sources\.text\.en\.format=it: the task text needs rows with conversations"):
        mixture.documents(source("text", format="it"), [row()], seed=0)


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ([source("st", target_language="")], r"sources\.st\.en\.target_language: st needs one"),
        ([source("mt", target_language="")], r"sources\.mt\.en\.target_language: mt needs one"),
        ([source("asr", weight=0)], r"sources\.asr\.en\.weight=0: must be above 0"),
        ([source("asr", weight=-1.0, name="x")], r"sources\.x\.weight=-1\.0: must be above 0"),
        ([source("asr"), source("asr", data="e")], r"sources\.asr\.en: two sources of this name"),
    ],
)
def test_recipes_that_cannot_be_are_refused(sources, reason):
    with pytest.raises(ValueError, match=reason):
        mixture.check(sources)


def test_a_good_recipe_passes():
    mixture.check([source("asr"), source("asr", name="more"), source("mt"), source("st"), source("text", weight=0.1)])
