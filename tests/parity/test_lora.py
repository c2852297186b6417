"""Adapters against those of peft, where that is installed: the same forward pass, gradients and merged weights."""

import copy

import pytest
import torch

from spire_ray.settings import LoraSettings
from spire_ray.training import lora

peft = pytest.importorskip("peft")
SETTINGS = LoraSettings(rank=4, alpha=12, targets=("q_proj", "v_proj", "down_proj"))
IDS = torch.arange(64).view(2, -1)


@pytest.fixture
def models():
    """Ours and peft's of one model, with the same adapters, none of them zero."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    base = LlamaForCausalLM(LlamaConfig(vocab_size=64, initializer_range=0.3, **shape))
    ours = copy.deepcopy(base)
    ours.requires_grad_(False)
    lora.adapt(ours, SETTINGS)
    given = peft.LoraConfig(r=SETTINGS.rank, lora_alpha=SETTINGS.alpha, target_modules=list(SETTINGS.targets))
    theirs = peft.get_peft_model(copy.deepcopy(base), given)
    seeded = {name: torch.randn_like(p) * 0.2 for name, p in ours.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name in seeded:
                parameter.copy_(seeded[name])
        for name, parameter in adapters(theirs).items():
            parameter.copy_(seeded[name])
    return base, ours, theirs, seeded


def adapters(model):
    """Parameters that peft trains, under our names."""
    return {
        name.removeprefix("base_model.model.").replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def test_forward_pass_and_gradients_are_those_of_peft(models):
    base, ours, theirs, seeded = models
    with torch.inference_mode():
        assert not torch.allclose(ours(IDS).logits, base(IDS).logits, atol=0.1)
    losses = [model(IDS, labels=IDS).loss for model in (ours, theirs)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    expected = adapters(theirs)
    found = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    assert set(found) == set(expected) == set(seeded)
    for name, parameter in found.items():
        gradient = expected[name].grad
        assert float(gradient.abs().max()) > 0
        assert torch.allclose(parameter.grad, gradient, atol=1e-5 * float(gradient.abs().max())), name


def test_merged_weights_are_those_of_peft(models):
    base, _, theirs, seeded = models
    merged = theirs.merge_and_unload().state_dict()
    for name, weight in base.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem + lora.LOW in seeded:
            update = lora.merge(weight, seeded[stem + lora.LOW], seeded[stem + lora.HIGH], SETTINGS)
            assert torch.allclose(update, merged[name], atol=1e-6), name
            assert not torch.allclose(update, weight, atol=1e-2), name
        else:
            assert torch.equal(weight, merged[name]), name


def test_adapters_begin_as_those_of_peft():
    """A begins with the same spread, B with zeros."""
    layer = torch.nn.Linear(512, 512, bias=False)
    parts = [lora.Adapted(layer, 64, 1.0)]
    given = peft.LoraConfig(r=64, target_modules=["0"])
    theirs = peft.get_peft_model(torch.nn.Sequential(copy.deepcopy(layer)), given).base_model.model[0]
    parts = [(parts[0].lora_A.weight, parts[0].lora_B.weight), (theirs.lora_A.default.weight, theirs.lora_B.default.weight)]
    spreads = [float(low.detach().std()) for low, _ in parts]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.02)
    assert all(not high.any() for _, high in parts)
