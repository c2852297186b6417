"""Transcripts by rules, and the language that they are in."""

import pytest
import yaml

from spire_ray.corpora.preparation import Unfit
from spire_ray.preparation import texts

RULES = [
    {"unicode": "NFKC"},
    {"reject": r"\[inaudible\]"},
    {"replace": r"(\d+) ?%", "by": r"\1 percent", "languages": ["en"]},
    {"replace": r"(\d+) ?%", "by": r"\1 Prozent", "languages": ["de"]},
    {"delete": "<[^>]*>"},
    {"casing": "sentence"},
]


def read(tmp_path, rules):
    (tmp_path / "rules.yaml").write_text(rules if isinstance(rules, str) else yaml.safe_dump(rules))
    return texts.read(str(tmp_path / "rules.yaml"))


def test_rules_are_applied_in_their_order_to_their_languages(tmp_path):
    rules = read(tmp_path, RULES)
    raw = "WELL <noise> ５%  OF <i>IT</i>. SO ﬁne"
    assert texts.normalized(raw, "en", rules) == "Well 5 percent of it. So fine"
    assert texts.normalized(raw, "de", rules) == "Well 5 prozent of it. So fine"
    assert texts.normalized(raw, "", rules) == "Well 5% of it. So fine"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("so [inaudible] it", r"transcript has \\\[inaudible"), ("<noise> <laugh>", "no text")],
)
def test_a_transcript_that_is_none_is_named(tmp_path, text, reason):
    with pytest.raises(Unfit, match=reason):
        texts.normalized(text, "en", read(tmp_path, RULES))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("a: b", "expected a list of rules"),
        ([{"casing": "upper"}], "rule 1: casing=upper: known are lower, sentence"),
        ([{"delete": "x"}, {"delete": "["}], r"rule 2: \[: no regular expression"),
        ([{"replace": "x"}], "rule 1: replace: has no `by`"),
        ([{"replace": "(x)", "by": r"\2"}], "no regular expression: invalid group reference 2"),
        ([{"delete": "x", "by": "y"}], "rule 1: by: no part of a rule `delete`"),
        ([{"preparation": "gigaspech-1"}], "did you mean gigaspeech-1"),
        (["lower"], "expected one of unicode, replace"),
    ],
)
def test_what_is_no_rule_is_refused_by_its_number(tmp_path, rules, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, rules)


def test_languages_are_told_apart():
    pytest.importorskip("py3langid")
    told = {
        "en": "and so the committee decided to postpone the vote until the following week",
        "de": "und so beschloss der ausschuss die abstimmung auf die folgende woche zu verschieben",
        "zh": "所以委员会决定把投票推迟到下一个星期",
    }
    for code, text in told.items():
        found, probability = texts.identified(text)
        assert found == code and probability > 0.7
