"""Of each row every document that can be made is made, and for the others there is a reason."""

import json

import pytest

from spire_ray.packs.tokens import Tokeniser
from spire_ray.settings import PackSettings, SourceSettings

ROW = {
    "utt_id": "u",
    "text": "the dog",
    "units": [3, 4],
    "status": "labelled",
    "language": "en",
    "split": "train",
    "duration": 1.0,
}


@pytest.fixture
def documents(fresh_model):
    def made(row, **source):
        one = SourceSettings(**{"task": "st_direct", "data": "d", "target_language": "any", "format": "it", **source})
        tokeniser = Tokeniser(PackSettings(model=fresh_model, sources=(one,), output=""))
        return tokeniser.documents(0, [ROW | row])

    return made


@pytest.mark.parametrize("bad", [("aa", "x"), ("cs", ""), ("cs", "der Hund " * 10_000), ("cs", "\ud83d"), ("zh", "\ud83d")])
def test_a_bad_translation_leaves_the_good_ones(documents, bad):
    made, rejected = documents({"translations": [("de", "der Hund"), bad, ("fr", "le chien")]})
    assert len(made) == 2
    assert [row["utt_id"] for row in rejected] == ["u"]


def test_half_a_pair_of_surrogates_is_a_reason(documents):
    made, [rejected] = documents({"text": "\ud83d"}, task="asr", target_language="", format="cpt")
    assert not made
    assert rejected == {"utt_id": "u", "reason": "not Unicode: half a pair of surrogates"}


@pytest.mark.parametrize(("packing", "form", "begins"), [
    ("best_fit", "cpt", True), ("megatron", "cpt", False), ("best_fit", "it", True), ("megatron", "it", True),
])  # fmt: skip
def test_documents_begin_with_bos_but_those_that_are_joined(fresh_model, packing, form, begins):
    source = SourceSettings(task="asr", data="d", format=form)
    tokeniser = Tokeniser(PackSettings(model=fresh_model, sources=(source,), output="", packing=packing))
    [made], _ = tokeniser.documents(0, [ROW])
    assert (made["ids"][0] == 0) == begins
    assert made["direction"] == "asr.en"


@pytest.mark.parametrize("word", ["<|im_end|>", "</s>", "<s>", "<|im_start|>"])
@pytest.mark.parametrize("place", ["text", "translations", "system", "human", "gpt"])
def test_a_row_with_a_control_token_is_rejected_with_its_reason_wherever_it_stands(fresh_model, word, place):
    said = f"a {word} dog"
    turns = [{"from": who, "value": said if who == place else "fine"} for who in ("system", "human", "gpt")]
    row = ROW | {
        "text": said if place == "text" else "fine",
        "translations": [("de", said if place == "translations" else "gut")],
    }
    sources = (
        SourceSettings(task="asr", data="d"),
        SourceSettings(task="st", data="d", target_language="de", format="it"),
        SourceSettings(task="mt", data="d", target_language="de"),
        SourceSettings(task="st_multiturn", data="d", target_language="de", format="it"),
        SourceSettings(task="text", data="d", format="it"),
    )
    tokeniser = Tokeniser(PackSettings(model=fresh_model, sources=sources, output=""))
    reached = {"text": (0, 2, 3), "translations": (1, 2, 3)}.get(place, (4,))
    for number in range(len(sources)):
        given = {**row, "conversations": json.dumps(turns)} if number == 4 else row
        made, rejected = tokeniser.documents(number, [given])
        assert bool(made) != (number in reached)
        assert [each["reason"].partition(":")[0] for each in rejected] == ["control token written as text"] * (number in reached)
