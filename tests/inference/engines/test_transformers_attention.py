"""Continuous batching: which attention it takes, on the releases of transformers that the platform allows."""

import sys
from dataclasses import make_dataclass
from inspect import signature
from types import ModuleType

import pytest

from spire_ray.inference.engines import transformers as continuous
from spire_ray.inference.generate import EngineGenerator
from spire_ray.text import prompts
from spire_ray.text.prompts import Turn

ASKED = [prompts.chat([Turn(prompts.mt_prompt("the dog " * n, "en", "de"))]) for n in (1, 9, 2)]


@pytest.fixture
def kernels(monkeypatch):
    """The package `kernels`, as far as transformers looks: it would fetch flash attention from a hub."""
    fetched = []
    package = ModuleType("kernels")
    package.get_kernel = lambda *given, **named: fetched.append((given, named))
    monkeypatch.setitem(sys.modules, "kernels", package)
    from transformers.utils import import_utils

    monkeypatch.setattr(import_utils, "is_kernels_available", lambda *_: True)
    available = (import_utils.is_flash_attn_2_available, import_utils.is_flash_attn_3_available)
    for remembered in available:
        remembered.cache_clear()
    yield fetched
    for remembered in available:
        remembered.cache_clear()


def test_no_kernel_is_fetched_from_a_hub_in_its_place(tiny_model, kernels):
    generator = EngineGenerator.from_pretrained(tiny_model, "transformers", max_new_tokens=4)
    assert len(generator(ASKED)) == len(ASKED)
    assert "sdpa" in generator.engine.weights.model.config._attn_implementation
    assert kernels == []


def test_transformers_alone_would_fetch_one(tiny_model, kernels, monkeypatch):
    """Else the test above sees nothing."""
    from transformers import AutoModelForCausalLM
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager

    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="sdpa")
    monkeypatch.setattr(model, "set_attn_implementation", lambda name: None)
    ContinuousBatchingManager.switch_to_cb_friendly_attn(ContinuousBatchingManager.__new__(ContinuousBatchingManager), model)
    assert kernels


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["page_size", "auto_switch_to_flash"], ("sdpa", {"auto_switch_to_flash": False})),
        (["block_size"], ("paged|sdpa", {})),
    ],
    ids=["5.23", "5.17"],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_release_is_told_in_its_own_words_to_keep_the_attention(monkeypatch, fields, expected, device):
    monkeypatch.setattr(continuous, "signature", lambda _: signature(make_dataclass("ContinuousBatchingConfig", fields)))
    assert continuous._attention(device) == expected


def test_a_gpu_with_flash_attn_takes_it(monkeypatch):
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr("transformers.utils.is_flash_attn_3_available", lambda: False)
    assert continuous._attention("cuda") == ("flash_attention_2", {})
    assert continuous._attention("cpu")[0] != "flash_attention_2"
