"""Documents into rows: every document whole, rows nearly full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.packs.packing import best_fit

ROW = 64
lengths = st.lists(st.integers(1, ROW), max_size=80)


@given(lengths)
def test_every_document_stands_in_exactly_one_row(lengths):
    rows = best_fit(lengths, ROW)
    assert sorted(document for row in rows for document in row) == list(range(len(lengths)))


@given(lengths)
def test_no_row_is_overfull_or_empty(lengths):
    assert all(0 < sum(lengths[document] for document in row) <= ROW for row in best_fit(lengths, ROW))


@given(lengths)
def test_no_two_rows_would_fit_into_one(lengths):
    filled = sorted(sum(lengths[document] for document in row) for row in best_fit(lengths, ROW))
    assert len(filled) < 2 or filled[0] + filled[1] > ROW


@given(st.lists(st.sets(st.integers(1, ROW - 1), max_size=8), min_size=1, max_size=20), st.randoms())
def test_rows_stay_within_two_ninths_of_a_packing_that_fills_them_all(cuts, random):
    lengths = [int(length) for row in cuts for length in np.diff([0, *sorted(row), ROW])]
    random.shuffle(lengths)
    assert len(cuts) <= len(best_fit(lengths, ROW)) <= 11 / 9 * len(cuts) + 1


def test_rows_of_utterances_are_almost_full():
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(5.3, 0.7, 5_000), 10, 2048).astype(int).tolist()
    rows = best_fit(lengths, 2048)
    assert sum(lengths) / (len(rows) * 2048) > 0.995


def test_documents_go_where_they_leave_the_least_room():
    assert best_fit([3, 6, 4, 7], 10) == [[3, 0], [1, 2]]


def test_the_outcome_depends_on_nothing_but_the_lengths():
    assert best_fit([5, 5, 5, 5], 10) == [[0, 1], [2, 3]]
    assert best_fit([], 10) == []


def test_a_document_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="a document of 11 tokens does not fit into a row of 10"):
        best_fit([3, 11], 10)
