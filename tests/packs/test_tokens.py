"""Of each row every document that can be made is made, and for the others there is a reason."""

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
