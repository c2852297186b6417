"""The packed loss: what Hugging Face computes for each document alone, summed."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from spire_ray.packs.pack import Document, Pack, Row, write
from spire_ray.training import attention
from spire_ray.training.batch import LossWeights, collate
from spire_ray.training.loss import PackedLoss

VOCABULARY, LENGTH = 96, 40
UNITS = range(60, 90)


@pytest.fixture(scope="module", params=["llama", "tied llama", "qwen3"])
def model(request):
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": request.param.startswith("tied"),
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    if request.param == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8))
    return LlamaForCausalLM(LlamaConfig(**shape))


@pytest.fixture(scope="module")
def documents():
    """Documents of 1 to 40 tokens; in some only the end counts, in one nothing does."""
    draw = np.random.default_rng(0)
    made = []
    for number, length in enumerate([40, 17, 9, 5, 2, 1, 23, 12]):
        counted = np.arange(length) >= (length // 2 if number % 2 else 0)
        made.append(Document(draw.integers(1, VOCABULARY, length).astype(np.int32), counted & (number != 3), f"u{number}", 0))
    return made


@pytest.fixture(scope="module")
def rows(documents, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pack"))
    write(folder, documents, LENGTH, VOCABULARY, 0, {"sources": [{"name": "x"}]})
    rows = list(Pack(folder).epoch(0, 0))
    assert len(rows) < len(documents)
    return rows


@pytest.fixture(scope="module")
def batch(rows):
    return collate(rows)


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def test_loss_and_gradients_equal_those_of_the_documents_alone(model, documents, batch):
    total = 0.0
    for document in documents:
        labels = torch.from_numpy(np.where(document.counted, document.ids, -100)).long()[None]
        targets = int((labels[:, 1:] != -100).sum())
        if targets:  # Hugging Face means over the targets
            loss = model(input_ids=torch.from_numpy(document.ids).long()[None], labels=labels).loss * targets
            loss.backward()
            total += loss.item()
    expected = gradients(model)
    packed = PackedLoss(model)(batch)
    packed.backward()
    assert packed.item() == pytest.approx(total, rel=1e-5)
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, expected[name], atol=1e-5 * float(expected[name].abs().max())), name


def test_the_loss_does_not_depend_on_how_rows_are_spread_over_batches(model, rows, batch):
    loss = PackedLoss(model)
    with torch.inference_mode():
        assert float(loss(batch)) == pytest.approx(sum(float(loss(collate([row]))) for row in rows), rel=1e-5)


@pytest.mark.parametrize("at_once", [1 << 12, 1 << 9])
def test_logits_in_chunks_give_the_same_loss_and_gradients(model, rows, at_once):
    batch = collate(rows, LossWeights(UNITS, unit=0.3))
    whole = PackedLoss(model)(batch)
    whole.backward()
    expected = gradients(model)
    chunked = PackedLoss(model, logits_at_once=at_once)
    assert chunked._chunks(batch) > 1
    loss = chunked(batch)
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, expected[name], atol=1e-5 * float(expected[name].abs().max())), name


def use_varlen(model, monkeypatch):
    """What GPUs run, with PyTorch's attention of each document alone in the place of the CUDA kernel."""
    attention.use_varlen(model, each_document_alone)


def on_cpu_in_short_rows(model, monkeypatch):
    attention.on_cpu(model)


def on_cpu_in_long_rows(model, monkeypatch):
    attention.on_cpu(model)
    monkeypatch.setattr(attention, "_SHORT", LENGTH - 1)


@pytest.mark.parametrize("attend", [use_varlen, on_cpu_in_short_rows, on_cpu_in_long_rows])
def test_attention_of_the_trainer_gives_the_loss_and_gradients_of_pytorchs(model, batch, attend, monkeypatch):
    whole = PackedLoss(model)(batch)
    whole.backward()
    expected = gradients(model)
    attend(model, monkeypatch)
    try:
        loss = PackedLoss(model)(batch)
    finally:
        model.set_attn_implementation("sdpa")
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, expected[name], atol=1e-5 * float(expected[name].abs().max())), name


def each_document_alone(query, key, value, cu_seqlens, longest, scale):
    outputs = []
    for start, end in pairwise(cu_seqlens.tolist()):
        assert 0 < end - start <= longest
        q, k, v = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        done = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        outputs.append(done[0].transpose(0, 1))
    return torch.cat(outputs)


def by_mask(model, monkeypatch):
    """Hugging Face's own."""


@pytest.mark.parametrize("attend", [by_mask, use_varlen, on_cpu_in_short_rows, on_cpu_in_long_rows])
def test_a_changed_document_changes_nothing_in_its_neighbours(model, attend, monkeypatch):
    lengths = [9, 14, 11]
    ids = np.random.default_rng(1).integers(1, VOCABULARY, LENGTH)
    ids[sum(lengths) :] = 0
    changed = ids.copy()
    changed[9:23] = (changed[9:23] + 7) % VOCABULARY
    attend(model, monkeypatch)
    loss = PackedLoss(model)
    batches = [collate([Row(row, np.ones(LENGTH, bool), np.array(lengths))]) for row in (ids, changed)]
    try:
        with torch.inference_mode():
            before, after = (loss(batch, each=True).split([8, 13, 10]) for batch in batches)  # the first token of each has none
    finally:
        model.set_attn_implementation("sdpa")
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert (before[1] != after[1]).all()


def test_the_unit_weight_scales_the_share_of_the_units(model, rows):
    loss = PackedLoss(model)
    with torch.inference_mode():
        whole, text, weighted = (float(loss(collate(rows, LossWeights(UNITS, unit=weight)))) for weight in (1.0, 0.0, 0.3))
    assert 0 < text < whole
    assert weighted == pytest.approx(text + 0.3 * (whole - text), rel=1e-5)


def test_the_losses_of_single_targets_add_up(model, batch):
    with torch.inference_mode():
        whole = float(PackedLoss(model)(batch))
        for at_once in (1 << 26, 1 << 9):
            each = PackedLoss(model, logits_at_once=at_once)(batch, each=True)
            assert each.shape == batch.targets.shape
            assert float(each.sum()) == pytest.approx(whole, rel=1e-5)


def test_a_batch_in_which_nothing_counts_has_no_loss(model):
    row = Row(np.ones(LENGTH, np.int64), np.zeros(LENGTH, bool), np.array([LENGTH]))
    loss = PackedLoss(model)(collate([row]))
    loss.backward()
    assert loss.item() == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)
    model.zero_grad()
