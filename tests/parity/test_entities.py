"""Entities are counted as conlleval counts them: against a port of its rules, tag by tag, on random tags."""

import numpy as np
import pytest

from spire_ray.evaluation.metrics import METRICS, Scored
from spire_ray.evaluation.tasks.ner import CLASSES
from spire_ray.settings import ScoreSettings
from spire_ray.text.languages import language

TAGS = ["O", "O", *(f"{place}-{name}" for name in CLASSES for place in "BI")]


def conlleval(gold, said):
    """F1 by the state machine of the CoNLL-2000 script: chunks begin and end between two tags, and are right while both agree."""
    right = there = named = 0
    agrees, before = False, ("O", "O")

    def split(tag):
        return ("O", "") if tag == "O" else (tag[0], tag[2:])

    def ends(last, now):
        (place, name), (next_place, next_name) = split(last), split(now)
        return place != "O" and (next_place in "BO" or name != next_name)

    def begins(last, now):
        (place, name), (next_place, next_name) = split(last), split(now)
        return next_place == "B" or (next_place == "I" and (place == "O" or name != next_name))

    for now in [*zip(gold, said, strict=True), ("O", "O")]:
        ended = [ends(last, this) for last, this in zip(before, now, strict=True)]
        if agrees and any(ended):
            right += all(ended)
            agrees = False
        begun = [begins(last, this) for last, this in zip(before, now, strict=True)]
        there, named = there + begun[0], named + begun[1]
        if all(begun):
            agrees = split(now[0])[1] == split(now[1])[1]
        elif any(begun):
            agrees = False
        before = now
    return right, named, there


def metric():
    return METRICS["f1"].make(ScoreSettings(output="", hypotheses=""), language("en"))


def answer(tags):
    return str([(f"it's {n}", tag) for n, tag in enumerate(tags)])


def test_random_tags_are_counted_as_by_conlleval():
    draw = np.random.default_rng(0)
    made, sums = metric(), np.zeros(3)
    expected = np.zeros(3)
    for n in range(400):
        gold = draw.choice(TAGS, draw.integers(1, 12)).tolist()
        said = [tag if draw.random() < 0.7 else str(draw.choice(TAGS)) for tag in gold]
        [counts] = made.statistics([Scored(str(n), answer(said), " ".join(gold))])
        assert tuple(counts) == conlleval(gold, said), (gold, said)
        sums, expected = sums + counts, expected + conlleval(gold, said)
    precision, recall = expected[0] / expected[1], expected[0] / expected[2]
    assert made.value(sums) == pytest.approx(200 * precision * recall / (precision + recall)) and 30 < made.value(sums) < 90


def test_answers_that_are_no_lists_of_the_right_length_are_read_as_far_as_they_go():
    made, gold = metric(), "B-Scientist I-Scientist O B-Food"

    def counted(text):
        return made.statistics([Scored("a", text, gold)])[0]

    assert counted('[("Ada", "B-Person"), ("L.", "I-Person"), ("ate", "O"), ("pie", "B-Product")]') == [2, 2, 2]
    assert counted("[('Ada', 'B-Person'), ('L.', 'I-Person'), ('at") == [1, 1, 2]
    assert counted('[("Ada", "B-Hero"), ("L.", "I-Person")]') == [0, 1, 2]
    assert counted("There are none.") == [0, 0, 2] and made.value(np.array([0, 0, 2])) == 0
    with pytest.raises(ValueError, match="row a: tag 'B-Dragon'"):
        made.statistics([Scored("a", "", "B-Dragon")])
