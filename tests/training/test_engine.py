"""DeepSpeed's configuration from a JSON file and the settings of a training."""

import importlib.util
import json
import sys
import types

import numpy as np
import pytest

from spire_ray.core import processor
from spire_ray.settings import OptimizerSettings, TrainingSettings
from spire_ray.training import engine, sizes

PRESET = {"zero_optimization": {"stage": 1}, "bf16": {"enabled": "auto", "immediate_grad_update": True}}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "zero.json").write_text(json.dumps(PRESET))
    return str(tmp_path / "zero.json")


def training(**changes):
    return TrainingSettings(**{"steps": 10, "global_batch_size": 8, "micro_batch_size": 2, **changes})


@pytest.mark.parametrize(("micro", "workers", "accumulation"), [(2, 1, 4), (2, 2, 2), (2, 4, 1), (8, 1, 1), (1, 8, 1)])
def test_accumulation_follows_from_the_batch(path, micro, workers, accumulation):
    ds_config = engine.configuration(path, training(micro_batch_size=micro), 8, workers)
    assert ds_config["train_micro_batch_size_per_gpu"] == micro
    assert ds_config["gradient_accumulation_steps"] == accumulation


@pytest.mark.parametrize(("rows", "micro", "workers"), [(8, 3, 1), (8, 2, 3), (2, 2, 2), (7, 2, 1)])
def test_a_batch_that_does_not_divide_is_refused(path, rows, micro, workers):
    with pytest.raises(ValueError, match=rf"training\.global_batch_size={rows}: must be a multiple of .* = {micro} × {workers}"):
        engine.configuration(path, training(micro_batch_size=micro), rows, workers)


def test_clipping_comes_from_the_settings_and_the_rest_from_the_file(path):
    ds_config = engine.configuration(path, training(optimizer=OptimizerSettings(clip=0.5)), 8, 1)
    assert ds_config["gradient_clipping"] == 0.5
    assert ds_config["zero_optimization"] == PRESET["zero_optimization"]
    assert "optimizer" not in ds_config  # AdamW is torch's own, fused on GPUs


@pytest.mark.parametrize(
    ("given", "rows"), [({"global_batch_size": 8}, 8), ({"global_batch_tokens": 8 * 48}, 8), ({"global_batch_tokens": 48}, 1)]
)
def test_a_batch_is_counted_in_rows_or_in_tokens(given, rows):
    assert sizes.rows_of_a_step(TrainingSettings(steps=1, **given), 48) == rows


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "training.global_batch_tokens=0, training.global_batch_size=0: give one of the two"),
        (
            {"global_batch_size": 2, "global_batch_tokens": 96},
            "training.global_batch_tokens=96, training.global_batch_size=2: give one of the two",
        ),
        ({"global_batch_tokens": 100}, "training.global_batch_tokens=100: must be a multiple of the row length 48"),
    ],
)
def test_a_batch_that_is_not_given_once_in_whole_rows_is_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        sizes.rows_of_a_step(TrainingSettings(steps=1, **given), 48)


def test_muon_with_adapters_is_refused(path):
    with pytest.raises(ValueError, match=r"training\.trainable=lora: use optimizer\.name=adamw"):
        engine.configuration(path, training(optimizer=OptimizerSettings(name="muon", clip=0), trainable="lora"), 8, 1)


def test_muon_has_two_rates(path):
    ds_config = engine.configuration(
        path, training(optimizer=OptimizerSettings(name="muon", lr=1e-4, muon_lr=0.01, clip=0)), 8, 1
    )
    assert ds_config["optimizer"]["type"] == "Muon"
    assert (ds_config["optimizer"]["params"]["adam_lr"], ds_config["optimizer"]["params"]["muon_lr"]) == (1e-4, 0.01)


@pytest.mark.parametrize("gpu", [True, False])
def test_muon_wants_no_compiler_of_cuda(path, monkeypatch, gpu):
    """DeepSpeed builds FusedAdam for the other parameters unless it is told not to, and catches no failure but ImportError."""
    monkeypatch.setattr(engine, "_gpu", lambda: gpu)
    ds_config = engine.configuration(path, training(optimizer=OptimizerSettings(name="muon", clip=0)), 8, 1)
    assert ds_config["optimizer"]["params"]["torch_adam"] is True
    assert ("ns_method" in ds_config["optimizer"]["params"]) is not gpu


def test_muon_with_clipping_is_refused(path):
    with pytest.raises(ValueError, match=r"training\.optimizer\.clip=1\.0: must be 0 with muon"):
        engine.configuration(path, training(optimizer=OptimizerSettings(name="muon", clip=1.0)), 8, 1)


def test_automatic_bfloat16_is_decided_and_the_rest_of_its_group_kept(path):
    assert engine.configuration(path, training(), 8, 1)["bf16"] == {
        "enabled": processor.fast_bfloat16(),
        "immediate_grad_update": True,
    }


@pytest.mark.parametrize("given", [{"enabled": True}, {"enabled": False}, None])
def test_a_precision_that_is_set_stays(tmp_path, given):
    (tmp_path / "zero.json").write_text(json.dumps({} if given is None else {"bf16": given}))
    assert engine.configuration(str(tmp_path / "zero.json"), training(), 8, 1).get("bf16") == given


def test_deepspeed_comes_without_mlflow_which_can_be_imported_after_it(one_worker, monkeypatch):
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    assert engine.deepspeed().__name__ == "deepspeed"
    assert "mlflow" not in sys.modules
    assert importlib.util.find_spec("mlflow")


def test_an_mlflow_that_was_imported_before_stays_the_same(one_worker, monkeypatch):
    imported = types.ModuleType("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", imported)
    engine.deepspeed()
    assert sys.modules["mlflow"] is imported


@pytest.mark.parametrize("stage", [1, 3])
def test_rotary_frequencies_stay_exact_in_bfloat16(one_worker, fresh_model, tmp_path, stage):
    """DeepSpeed rounds buffers too: at position 2,000 a frequency that is off by 0.2 % turns the angle by whole radians."""
    import torch
    from transformers import AutoModelForCausalLM

    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": stage}, "bf16": {"enabled": True}}))
    ds_config = engine.configuration(str(tmp_path / "zero.json"), training(), 8, 1)
    model = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.bfloat16)
    exact = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32).model.rotary_emb.inv_freq
    engine.Engine(model, training(), ds_config, sys.maxsize)
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
    assert not torch.equal(exact.bfloat16().float(), exact)  # else rounding would not show


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("half", [False, True])
def test_the_first_update_is_that_of_adam(one_worker, fresh_model, tmp_path, stage, half):
    """Every trained weight moves by the rate, whatever its gradient is: DeepSpeed must not have taken a step before."""
    import torch
    from transformers import AutoModelForCausalLM

    from spire_ray.packs.pack import Row
    from spire_ray.training.batch import collate

    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": stage}, "bf16": {"enabled": half}}))
    settings = training(global_batch_size=1, micro_batch_size=1, optimizer=OptimizerSettings(lr=1e-2, clip=0.0))
    ds_config = engine.configuration(str(tmp_path / "zero.json"), settings, 1, 1)
    model = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.bfloat16 if half else torch.float32)
    worker = engine.Engine(model, settings, ds_config, sys.maxsize)
    batch = collate([Row(np.arange(48), np.ones(48, bool), np.array([48]))])
    with gathered(model, stage):
        before = model.model.layers[0].mlp.up_proj.weight.detach().float().clone()
    worker.step([batch], [1 / 47], 1.0)
    with gathered(model, stage):
        moved = (model.model.layers[0].mlp.up_proj.weight.detach().float() - before).abs()
    assert float(moved.mean()) == pytest.approx(1e-2, rel=0.02)


def gathered(model, stage):
    """The whole weight of every partition under ZeRO 3."""
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(model.parameters()), enabled=stage == 3)
