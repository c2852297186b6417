"""Every family of language models is trained as its own forward pass says, or refused before any work."""

import copy
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from spire_ray.packs.pack import Row
from spire_ray.settings import LoraSettings, OptimizerSettings, TrainingSettings
from spire_ray.training import attention, families, lora, trainable
from spire_ray.training.batch import collate
from spire_ray.training.budget import Shape
from spire_ray.training.loss import PackedLoss
from tests.training import zoo

LENGTHS, LENGTH = [17, 9, 6, 1, 3], 40
FIRST_NEW = 80
IDS = np.random.default_rng(0).integers(3, zoo.VOCABULARY, LENGTH) * (np.arange(LENGTH) < sum(LENGTHS))
ROW = Row(IDS, np.arange(LENGTH) < sum(LENGTHS), np.array(LENGTHS))


def each_document_alone(query, key, value, cu_seqlens, longest, scale, window=None):
    """What flash attention computes, with a matrix of scores for each document."""
    outputs = []
    for start, end in pairwise(cu_seqlens.tolist()):
        assert 0 < end - start <= longest
        q, k, v = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        place = torch.arange(end - start)
        distance = place[:, None] - place[None]
        mask = (distance >= 0) & (distance < (window or longest))
        done = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        outputs.append(done[0].transpose(0, 1))
    return torch.cat(outputs)


def short_rows(model, monkeypatch):
    attention.on_cpu(model)


def long_rows(model, monkeypatch):
    attention.on_cpu(model)
    monkeypatch.setattr(attention, "_SHORT", LENGTH - 1)


def on_gpus(model, monkeypatch):
    attention.use_varlen(model, each_document_alone)


WAYS = [short_rows, long_rows, on_gpus]


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def documents_alone(model):
    """Summed loss and gradients of the documents, one at a time, by the model's own forward pass."""
    total = 0.0
    for ids in torch.from_numpy(IDS).split([*LENGTHS, LENGTH - sum(LENGTHS)])[:-1]:
        if len(ids) > 1:
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
            loss = cross_entropy(logits.float(), ids[1:], reduction="sum")
            loss.backward()
            total += loss.item()
    return total, gradients(model)


def assert_equal(found, expected):
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-4 * float(gradient.abs().max()) + 1e-7), name


@pytest.mark.parametrize("family", families.FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_forward_pass(family, monkeypatch):
    model = zoo.model(family)
    expected, of_documents = documents_alone(model)
    for way in WAYS:
        with monkeypatch.context() as patch:
            way(model, patch)
            loss = PackedLoss(model)(collate([ROW]))
        loss.backward()
        assert loss.item() == pytest.approx(expected, rel=2e-6), way.__name__
        assert_equal(gradients(model), of_documents)


PARTS = {
    "lora": TrainingSettings(steps=1, global_batch_size=1, trainable="lora", lora=LoraSettings(rank=2, alpha=4)),
    "units_only": TrainingSettings(steps=1, global_batch_size=1, trainable="units_only"),
    "new rows apart": TrainingSettings(steps=1, global_batch_size=1, optimizer=OptimizerSettings(new_rows_lr=1e-3)),
}


def linear_layers(model):
    """The names that an adapter can have in this model."""
    layers = model.base_model.layers.named_modules()
    names = {name.rpartition(".")[2] for name, module in layers if type(module) is torch.nn.Linear}
    return tuple(sorted(names - {"wg"}))  # Hunyuan's router reads the weight itself


def test_an_adapter_on_a_layer_whose_weight_is_read_without_it_is_refused():
    model = zoo.model("hunyuan_v1_moe")
    trainable.prepare(
        model, TrainingSettings(steps=1, global_batch_size=1, trainable="lora", lora=LoraSettings(targets=("wg",))), FIRST_NEW
    )
    with pytest.raises(ValueError, match=r"training\.lora\.targets: the model reads a weight itself"):
        PackedLoss(model)(collate([ROW]))


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_part_that_is_trained_gets_the_gradients_that_the_whole_would_get(family, kind, monkeypatch):
    model = zoo.model(family)
    expected, whole = documents_alone(model)
    targets = linear_layers(model)
    training = TrainingSettings(**{**vars(PARTS[kind]), "lora": LoraSettings(rank=2, alpha=4, targets=targets)})
    for way in WAYS:
        part = copy.deepcopy(model)
        trainable.prepare(part, training, FIRST_NEW)
        with monkeypatch.context() as patch:
            way(part, patch)
            loss = PackedLoss(part)(collate([ROW]))
        loss.backward()
        assert loss.item() == pytest.approx(expected, rel=2e-6), way.__name__
        found = gradients(part)
        new = {name.replace(".new_rows", ".weight"): grad for name, grad in found.items() if name.endswith(".new_rows")}
        assert new
        assert_equal(new, {name: whole[name][FIRST_NEW:] for name in new})
        # B begins at zero: its gradient is that of the layer's weight times A, times alpha / rank
        high = {name: grad for name, grad in found.items() if name.endswith(lora.HIGH)}
        assert bool(high) == (kind == "lora")
        for name, gradient in high.items():
            stem = name.removesuffix(lora.HIGH)
            assert_equal({name: gradient}, {name: 2 * whole[f"{stem}.weight"] @ part.get_parameter(stem + lora.LOW).T})


@pytest.mark.parametrize("family", sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(families.FAMILIES)))
def test_every_other_family_is_refused(family):
    with pytest.raises(ValueError, match=f"model: model_type={re.escape(family)} is not among the .* docs/models.md"):
        families.require({"model_type": family})


@pytest.mark.parametrize(
    ("family", "asked", "told"),
    [
        ("llama", {"attention_dropout": 0.1}, "attention_dropout=0.1: .*set it to 0"),
        ("mixtral", {"output_router_logits": True}, "output_router_logits=true: the loss of the router"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "only causal models"),
        ("phi3", {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 32}}, "rope_type=longrope and rows"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic"}, "max_position_embeddings": 32}, "rope_type=dynamic and rows"),
        ("gpt_oss", {"quantization_config": {"quant_method": "mxfp4"}}, "quantized weights cannot be trained"),
        ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "layer_types linear_attention"),
        ("llama4_text", {}, "model_type=llama4_text is not among"),
        (None, {}, "model_type=None is not among"),
    ],
)  # fmt: skip
def test_what_packed_training_would_drop_is_refused(family, asked, told):
    with pytest.raises(ValueError, match=told) as refused:
        families.require({"model_type": family, **asked}, sequence_length=40)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"position_bias": torch.ones(1)}, "asks its attention for position_bias, which is not supported"),
        ({"indices": torch.ones(1), "sinks": 3}, "asks its attention for indices, sinks, which is not supported"),
        ({"is_causal": False}, "looks ahead"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_an_argument_that_attention_does_not_know_is_refused(way, asked, told, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaAttention

    plain = LlamaAttention.forward
    monkeypatch.setattr(LlamaAttention, "forward", lambda self, *given, **named: plain(self, *given, **named, **asked))
    model = zoo.model("llama")
    way(model, monkeypatch)
    with pytest.raises(ValueError, match=told):
        PackedLoss(model)(collate([ROW]))


@pytest.mark.parametrize("way", WAYS)
def test_attention_dropout_is_refused_where_it_would_drop(way, monkeypatch):
    model = zoo.model("llama")
    way(model, monkeypatch)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    with pytest.raises(ValueError, match=r"attention dropout 0\.1 is not supported"):
        PackedLoss(model)(collate([ROW]))
    PackedLoss(model.eval())(collate([ROW]))


@pytest.mark.parametrize("family", [name for name, known in families.FAMILIES.items() if known.feed_forward != "experts"])
def test_the_plan_counts_the_parameters_of_every_dense_family(family):
    heads = {"head_dim": 64} if "head_dim" in zoo.config(family).to_dict() else {}
    settings = zoo.config(family, hidden_size=256, intermediate_size=700, **heads)
    with torch.device("meta"):
        counted = zoo.AutoModelForCausalLM.from_config(settings).num_parameters()
    assert Shape.read(settings.to_dict()).parameters == pytest.approx(counted, rel=0.01)


def test_the_table_of_the_documents_is_that_of_the_code():
    table = Path(__file__, "../../../docs/models.md").resolve().read_text()
    for name, family in families.FAMILIES.items():
        counted = "counted" if families.counted(name) else "not counted"
        full, attention_ = (
            "refused" if family.stored_otherwise else "yes",
            "by documents" if family.bounds else "under a mask",
        )
        assert f"| `{name}` | {family.models} | {counted} | {full} | {attention_} |" in table
    assert table.count("\n| `") >= len(families.FAMILIES) > 40


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_table_says_which_weights_are_stored_in_another_form(family, tmp_path):
    from safetensors.torch import load_file

    model = zoo.model(family)
    model.save_pretrained(tmp_path)
    stored, trained = load_file(tmp_path / "model.safetensors"), dict(model.named_parameters())
    assert (not trained.keys() <= stored.keys()) == families.FAMILIES[family].stored_otherwise
