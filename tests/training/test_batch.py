"""Packed rows as tensors: documents in a row do not see each other."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.packs.pack import Row
from spire_ray.training.batch import LossWeights, collate

LENGTH = 24


def row(lengths, seed=0):
    draw = np.random.default_rng(seed)
    ids = np.zeros(LENGTH, np.int64)
    counted = np.zeros(LENGTH, bool)
    ids[: sum(lengths)] = draw.integers(1, 50, sum(lengths))
    counted[: sum(lengths)] = draw.random(sum(lengths)) < 0.7
    return Row(ids, counted, np.array(lengths, np.int64))


documents = st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda lengths: sum(lengths) <= LENGTH)


@given(documents)
def test_positions_start_at_0_in_each_document(lengths):
    positions = collate([row(lengths)]).position_ids[0].tolist()
    assert positions == [p for length in lengths for p in range(length)] + [0] * (LENGTH - sum(lengths))


@given(documents)
def test_a_token_looks_at_itself_and_at_what_stands_before_it_in_its_document(lengths):
    mask = collate([row(lengths)]).attention_mask()[0, 0]
    owner = np.repeat(range(len(lengths)), lengths).tolist() + [f"padding {i}" for i in range(LENGTH - sum(lengths))]
    expected = [[owner[i] == owner[j] and j <= i for j in range(LENGTH)] for i in range(LENGTH)]
    assert mask.tolist() == expected


@given(documents)
def test_first_tokens_uncounted_tokens_and_padding_are_no_targets(lengths):
    given = row(lengths)
    batch = collate([given])
    firsts = (np.cumsum(lengths) - lengths).tolist()
    assert batch.targets.tolist() == [t for t in range(LENGTH) if given.counted[t] and t not in firsts]
    assert batch.weights.tolist() == [1.0] * len(batch.targets)


@given(st.lists(documents, min_size=1, max_size=3))
def test_bounds_are_those_of_documents_and_padding_of_rows_laid_end_to_end(rows):
    stretches = [n for lengths in rows for n in (*lengths, LENGTH - sum(lengths)) if n]
    assert collate([row(lengths) for lengths in rows]).cu_seqlens.tolist() == [0, *np.cumsum(stretches).tolist()]


@given(documents)
def test_a_whole_row_is_one_document(lengths):
    total = sum(lengths)
    whole, single = collate([row(lengths)], whole=True), collate([row([total])])
    for name in ("position_ids", "documents", "cu_seqlens", "targets", "weights"):
        assert torch.equal(getattr(whole, name), getattr(single, name)), name


def test_units_and_text_have_their_own_weights_as_targets():
    given = row([10, 8])
    plain, weighted = collate([given]), collate([given], LossWeights(range(20, 40), unit=0.25, text=2.0))
    ids = plain.input_ids.view(-1)[plain.targets]
    unit = (ids >= 20) & (ids < 40)
    assert unit.any() and not unit.all()
    assert torch.equal(weighted.weights, torch.where(unit, 0.25, 2.0))


def test_what_weighs_nothing_is_no_target():
    batch = collate([row([10, 8])], LossWeights(range(20, 40), unit=0.0))
    ids = batch.input_ids.view(-1)[batch.targets]
    assert not ((ids >= 20) & (ids < 40)).any()


def test_rows_are_stacked_and_keep_their_ids():
    rows = [row([5, 6], 1), row([LENGTH], 2), row([1, 1, 1], 3)]
    batch = collate(rows)
    assert np.array_equal(batch.input_ids.numpy(), [r.input_ids for r in rows])
    for number, alone in enumerate(collate([r]) for r in rows):
        assert torch.equal(batch.documents[number], alone.documents[0])
        assert torch.equal(batch.attention_mask()[number], alone.attention_mask()[0])
