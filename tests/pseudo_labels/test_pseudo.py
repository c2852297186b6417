"""Which translations are asked for, which are kept, and what they cost by the plan."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.manifest.schema import UNITS
from spire_ray.pseudo_labels import pseudo
from spire_ray.pseudo_labels.pseudo import Request
from spire_ray.settings import QualitySettings


def test_every_row_is_asked_for_in_every_language_but_its_own_or_refused_with_its_reason():
    rows = [
        {"text": "the dog", "language": "en"},
        {"text": "der Hund", "language": "de"},
        {"text": " ", "language": "en"},
        {"text": "the \U000f0001 dog", "language": "en"},
        {"text": "koira", "language": "xx"},
    ]
    made = pseudo.requests(rows, ("de", "fr"))
    assert made[:3] == [Request(0, "de"), Request(0, "fr"), Request(1, "fr")]
    assert [(request.row, request.error.partition(": ")[0]) for request in made[3:]] == [
        (2, "no text"), (3, "units written as text"), (4, "unknown language"),
    ]  # fmt: skip


scores = st.lists(st.sampled_from([0.2, 0.8, 0.85, 0.9, 0.95]), max_size=40)


@given(scores, st.integers(0, 10))
def test_the_best_are_kept_from_the_threshold_on_and_no_more_than_top_k(values, top_k):
    quality = QualitySettings(top_k=top_k)
    given_scores = np.array(values, np.float32)
    good = [place for place, value in enumerate(given_scores) if pseudo.good({"score": value, "scores": ()}, quality)]
    assert good == np.flatnonzero(given_scores >= np.float32(0.85)).tolist()
    left, ranks = given_scores[good], pseudo.ranks([f"u{i}" for i in good], "de")
    keeps = pseudo.cut(left, ranks, top_k).keeps(left, ranks)
    assert keeps.sum() == (min(top_k, len(good)) if top_k else len(good))
    if not keeps.all():
        assert left[keeps].min() >= left[~keeps].max()


@pytest.mark.parametrize(
    ("label", "minimum", "kept"),
    [
        ({"score": None, "scores": ()}, {}, True),
        ({"score": math.nan, "scores": ()}, {}, False),
        ({"score": 0.9, "scores": [("blaser2_mt", 4.6)]}, {"blaser2_mt": 4.5}, True),
        ({"score": 0.9, "scores": [("blaser2_mt", 4.4)]}, {"blaser2_mt": 4.5}, False),
        ({"score": 0.9, "scores": [("xcomet", 1.0)]}, {"blaser2_mt": 4.5}, False),
        ({"score": 0.9, "scores": None}, {"blaser2_mt": 4.5}, False),
        ({"score": 0.9, "scores": [("blaser2_mt", math.nan)]}, {"blaser2_mt": 4.5}, False),
        ({"score": 0.8, "scores": [("blaser2_mt", 5.0)]}, {"blaser2_mt": 4.5}, False),
    ],
)
def test_every_score_must_be_high_enough_and_a_missing_one_is_not(label, minimum, kept):
    assert pseudo.good(label, QualitySettings(minimum=minimum)) == kept


def test_the_better_of_two_systems_is_taken_by_any_score():
    def label(system, translation, score, **scores):
        return {
            "utt_id": "u", "target_language": "de", "system": system, "translation": translation, "score": score,
            "scores": list(scores.items()),
        }  # fmt: skip

    one, two = label("one", "Hund", 0.9, blaser=3.0), label("two", "Köter", 0.8, blaser=4.0)
    assert pseudo.better([[one], [two]], "score") == pseudo.better([[two], [one]], "score") == [one]
    assert pseudo.better([[one], [two]], "blaser") == [two]
    assert pseudo.better([[one], [{**two, "score": None}]], "score") == [one]
    assert pseudo.better([[{**one, "score": math.nan}], [two]], "score") == [two]
    assert pseudo.better([[{**one, "translation": None, "score": 9.0}], [two]], "score") == [two]
    equal = label("two", "Hund", 0.9)
    assert pseudo.better([[one], [equal]], "score") == [one]
    other = {**two, "target_language": "fr"}
    assert pseudo.better([[one], [other]], "score") == [one, other]


def test_what_was_not_scored_is_kept():
    nothing = np.array([np.nan, np.nan], np.float32)
    assert pseudo.good({"score": None, "scores": None}, QualitySettings())
    assert pseudo.cut(nothing, np.zeros(2, np.uint64), 0).keeps(nothing, np.zeros(2, np.uint64)).all()


def test_a_random_choice_is_one_by_rank_and_always_the_same():
    ids = [f"u{i}" for i in range(1000)]
    nothing, ranks = np.full(1000, np.nan, np.float32), pseudo.ranks(ids, "de")
    keeps = pseudo.cut(nothing, ranks, 300).keeps(nothing, ranks)
    assert keeps.sum() == 300
    assert 60 < keeps[:250].sum() < 90  # of every part of the rows
    assert set(ranks[keeps]) == set(np.sort(ranks)[:300])


def test_rows_get_the_translations_that_are_kept_and_go_without_any():
    rows = [{"utt_id": f"u{i}", "text": "t", "language": "en", "translations": [("de", "old")], "units": [i]} for i in range(3)]
    table = pa.Table.from_pylist(rows, schema=UNITS)
    kept = pseudo.rows_with_translations(table, [("u2", "fr", "chien"), ("u0", "de", "Hund"), ("u2", "de", "Hund!")])
    assert kept.schema == UNITS
    assert [(row["utt_id"], row["translations"], row["units"]) for row in kept.to_pylist()] == [
        ("u0", [("de", "Hund")], [0]),
        ("u2", [("de", "Hund!"), ("fr", "chien")], [2]),
    ]


def test_a_plan_counts_the_hours_of_a_hundred_million_translations():
    assert pseudo.gpu_hours(100_000_000, 13e9) == pytest.approx(290, rel=0.05)


def test_a_translation_of_a_row_that_is_gone_is_not_lost_silently():
    table = pa.Table.from_pylist([{"utt_id": "u0", "text": "t", "language": "en"}], schema=UNITS)
    with pytest.raises(ValueError, match="row u1 was translated and is gone"):
        pseudo.rows_with_translations(table, [("u1", "de", "Hund")])
