"""Which translations are asked for, which are kept, and what they cost by the plan."""

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
    given_scores = np.array(values, np.float32)
    ranks = pseudo.ranks([f"u{i}" for i in range(len(values))], "de")
    keeps = pseudo.cut(given_scores, ranks, QualitySettings(top_k=top_k)).keeps(given_scores, ranks)
    good = int((given_scores >= np.float32(0.85)).sum())
    assert keeps.sum() == (min(top_k, good) if top_k else good)
    if keeps.any() and not keeps.all():
        assert given_scores[keeps].min() >= max(given_scores[~keeps].max() if keeps.sum() < good else 0, np.float32(0.85))


def test_what_was_not_scored_is_kept():
    nothing = np.array([np.nan, np.nan], np.float32)
    assert pseudo.cut(nothing, np.zeros(2, np.uint64), QualitySettings()).keeps(nothing, np.zeros(2, np.uint64)).all()


def test_rows_get_the_translations_that_are_kept_and_go_without_any():
    rows = [{"utt_id": f"u{i}", "text": "t", "language": "en", "translations": [("de", "old")], "units": [i]} for i in range(3)]
    table = pa.Table.from_pylist(rows, schema=UNITS)
    kept = pseudo.rows_with_translations(table, [("u2", "fr", "chien"), ("u0", "de", "Hund"), ("u2", "de", "Hund!")])
    assert kept.schema == UNITS
    assert [(row["utt_id"], row["translations"], row["units"]) for row in kept.to_pylist()] == [
        ("u0", [("de", "Hund")], [0]),
        ("u2", [("de", "Hund!"), ("fr", "chien")], [2]),
    ]


def test_a_plan_counts_the_parameters_of_known_shapes():
    llama_2 = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
    }
    assert pseudo.parameters(llama_2) == pytest.approx(6.738e9, rel=1e-3)
    assert pseudo.gpu_hours(100_000_000, 13e9) == pytest.approx(290, rel=0.05)


def test_a_plan_only_grows():
    plan = pseudo.shards([("a", 5), ("c", 1)], 2)
    assert [(s.shard, s.file, s.first, s.rows) for s in plan] == [(0, "a", 0, 2), (1, "a", 2, 2), (2, "a", 4, 1), (3, "c", 0, 1)]
    grown = pseudo.shards([("a", 6), ("b", 1), ("c", 1)], 2, plan)
    assert grown[:4] == plan
    assert [(s.shard, s.file, s.first, s.rows) for s in grown[4:]] == [(4, "a", 5, 1), (5, "b", 0, 1)]
    with pytest.raises(ValueError, match="a has 4 rows, of which 5 were planned"):
        pseudo.shards([("a", 4), ("c", 1)], 2, plan)
    with pytest.raises(ValueError, match="c was planned and is gone"):
        pseudo.shards([("a", 5)], 2, plan)


def test_a_translation_of_a_row_that_is_gone_is_not_lost_silently():
    table = pa.Table.from_pylist([{"utt_id": "u0", "text": "t", "language": "en"}], schema=UNITS)
    with pytest.raises(ValueError, match="row u1 was translated and is gone"):
        pseudo.rows_with_translations(table, [("u1", "de", "Hund")])
