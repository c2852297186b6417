"""What is trained: all of a model, adapters and new rows, or new rows alone; merged, each gives a plain model again."""

import copy

import pytest
import torch

from spire_ray.settings import LoraSettings, OptimizerSettings, TrainingSettings
from spire_ray.training import lora, rows, trainable

OLD, NEW = 40, 24
IDS = torch.arange(OLD + NEW).view(2, -1)


@pytest.fixture(params=["tied", "untied"])
def model(request):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    tied = request.param == "tied"
    return LlamaForCausalLM(LlamaConfig(vocab_size=OLD + NEW, tie_word_embeddings=tied, initializer_range=0.3, **shape))


def training(**changes):
    return TrainingSettings(**{"steps": 1, "global_batch_size": 1, "lora": LoraSettings(rank=4, alpha=8), **changes})


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", ["lora", "units_only"])
def test_a_prepared_model_begins_as_the_plain_one(model, kind):
    before = logits(model)
    trainable.prepare(model, training(trainable=kind), OLD)
    assert torch.equal(logits(model), before)


def test_units_only_trains_the_new_rows_alone(model):
    trainable.prepare(model, training(trainable="units_only"), OLD)
    new = {"model.embed_tokens.new_rows"}
    assert trained(model) == (new if model.config.tie_word_embeddings else new | {"lm_head.new_rows"})
    assert model.model.embed_tokens.new_rows.shape == (NEW, 16)


def test_lora_trains_adapters_and_new_rows(model):
    trainable.prepare(model, training(trainable="lora"), OLD)
    names = trained(model)
    assert {name for name in names if "new_rows" not in name} == {
        f"model.layers.{layer}.{part}.{target}.lora_{side}.weight"
        for layer in range(2)
        for part, targets in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
        for target in (f"{name}_proj" for name in targets)
        for side in "AB"
    }
    assert "model.embed_tokens.new_rows" in names


def test_new_rows_have_a_group_and_a_rate_of_their_own(model):
    groups = trainable.prepare(model, training(optimizer=OptimizerSettings(lr=1e-4, new_rows_lr=1e-2)), OLD)
    assert [(group["name"], group.get("lr")) for group in groups] == [("weights", None), ("new_rows", 1e-2)]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_a_full_training_with_one_rate_leaves_the_model_as_it_is(model):
    (group,) = trainable.prepare(model, training(), OLD)
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
    assert len(group["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    "settings",
    [{"trainable": "lora"}, {"trainable": "units_only"}, {"optimizer": OptimizerSettings(new_rows_lr=1e-3)}],
    ids=["lora", "units_only", "new rows apart"],
)
def test_merged_weights_give_the_logits_of_the_trained_model(model, settings):
    plain = copy.deepcopy(model)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable.prepare(model, training(**settings), OLD)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    learnt = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    merged = trainable.merged(base, learnt, LoraSettings(rank=4, alpha=8))
    if model.config.tie_word_embeddings:
        merged["lm_head.weight"] = merged["model.embed_tokens.weight"]
    untrained = logits(plain)
    plain.load_state_dict(merged)
    assert not torch.allclose(logits(plain), untrained, atol=1e-2)
    assert torch.allclose(logits(plain), logits(model), atol=1e-4)


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_gradient_checkpointing_changes_no_gradient(model, kind):
    def gradients(one):
        one.train()
        one(IDS, labels=IDS).loss.backward()
        return {name: parameter.grad for name, parameter in one.named_parameters()}

    other = copy.deepcopy(model)
    trainable.prepare(other, training(gradient_checkpointing=kind), OLD)
    expected = gradients(model)
    assert all(torch.equal(gradient, expected[name]) for name, gradient in gradients(other).items())


def test_selective_checkpointing_computes_no_matrix_product_again(model):
    from torch.utils.flop_counter import FlopCounterMode

    def flops(kind):
        one = copy.deepcopy(model).train()
        trainable.prepare(one, training(gradient_checkpointing=kind), OLD)
        with FlopCounterMode(display=False) as counter:
            one(IDS, labels=IDS).loss.backward()
        return counter.get_total_flops()

    assert flops("none") == flops("selective") < flops("full")


def test_what_cannot_be_trained_is_refused(model):
    with pytest.raises(ValueError, match="the model has no new rows; extend it"):
        trainable.prepare(model, training(trainable="units_only"), OLD + NEW)
    with pytest.raises(ValueError, match=r"training\.lora\.targets: llama has no linear layer c_attn"):
        lora.adapt(model, LoraSettings(targets=("q_proj", "c_attn")))


def test_a_head_with_a_bias_is_refused(model):
    model.set_output_embeddings(torch.nn.Linear(16, OLD + NEW))
    with pytest.raises(ValueError, match="output layer has a bias"):
        rows.split(model, OLD)
