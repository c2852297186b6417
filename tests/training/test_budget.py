"""The plan of a training, against what PyTorch counts and what is known of SPIRE's model."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from spire_ray.core import config
from spire_ray.packs.pack import Row
from spire_ray.recipes import runner
from spire_ray.settings import LoraSettings, TrainingSettings
from spire_ray.training import attention, budget, trainable
from spire_ray.training.batch import collate
from spire_ray.training.budget import GIB, Machine, Shape
from spire_ray.training.loss import PackedLoss
from spire_ray.training.plan import plan

ROOT = Path(__file__).parents[2]
SPIRE = Shape.read(json.loads((ROOT / "configs/shapes/llama-2-7b.json").read_text()))
TRAINING = TrainingSettings(steps=1, global_batch_size=1)
SMALL = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "configs/shapes").glob("*.json")])
@pytest.mark.parametrize("kind", ["full", "lora", "units_only"])
def test_parameters_are_those_that_pytorch_counts(name, kind):
    data = json.loads((ROOT / "configs/shapes" / name).read_text()) | {"num_hidden_layers": 2}
    model_type = data.pop("model_type")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **data))
    shape, training = (
        Shape.read({**data, "model_type": model_type}),
        TrainingSettings(steps=1, global_batch_size=1, trainable=kind),
    )
    assert shape.parameters == model.num_parameters()
    with torch.device("meta"):
        trainable.prepare(model, training, data["vocab_size"] - 5056)
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert shape.trained(training, 5056) == counted


def test_the_shape_of_spire_has_its_known_size_and_operations():
    assert SPIRE.parameters == 6_779_834_368
    assert SPIRE.flops(2048) / 1e9 == pytest.approx(41.4, abs=0.05)
    assert SPIRE.flops(4096) / 1e9 == pytest.approx(43.0, abs=0.05)


def test_memory_counts_every_state_of_adam_once_over_the_workers():
    alone = budget.memory(SPIRE, TRAINING, Machine(1, 1, half=True), 4096, 0)
    state = sum(alone[name] for name in ("weights", "gradients", "float32 gradients", "masters and moments"))
    assert state == SPIRE.parameters * (2 + 2 + 4 + 12)
    for stage, whole in ((1, 4), (2, 2), (3, 0)):
        parts = budget.memory(SPIRE, TRAINING, Machine(8, stage, half=True), 4096, 0)
        state = sum(parts[name] for name in ("weights", "gradients", "float32 gradients", "masters and moments"))
        assert state == pytest.approx(SPIRE.parameters * (whole + (20 - whole) / 8))


def test_checkpointing_and_adapters_need_less():
    def total(**changes):
        training = TrainingSettings(steps=1, global_batch_size=1, **changes)
        return sum(budget.memory(SPIRE, training, Machine(1, 1, half=True), 4096, 5056).values())

    assert total(gradient_checkpointing="full") < total(gradient_checkpointing="selective") < total()
    assert total(trainable="units_only") < total(trainable="lora") < total() / 2
    assert budget.checkpoint_bytes(SPIRE, TRAINING, Machine(8, 1, half=True), 0) / 1e9 == pytest.approx(94.9, abs=0.1)


def kept_of_a_token(kind, dtype, layers):
    """Bytes that PyTorch keeps of a token for the backward pass of a small Llama."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SMALL, num_hidden_layers=layers), dtype=dtype)
    trainable.prepare(model, TrainingSettings(steps=1, global_batch_size=1, gradient_checkpointing=kind), SMALL["vocab_size"])
    attention.on_cpu(model)
    loss = PackedLoss(model.train())
    batch = collate([Row(np.arange(256) % 500, np.ones(256, bool), np.array([256]))])
    gc.collect()
    before = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *_in_python()]}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        total = loss(batch)
    kept += _in_python()  # selective checkpointing keeps tensors there
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept if tensor is not total}
    return sum(size for place, size in sizes.items() if place not in before) / 256


def _in_python():
    return [found for found in gc.get_objects() if type(found) is torch.Tensor and _stored(found)]


def _stored(tensor):
    """Not so those that ZeRO-3 let go in a test before this one."""
    try:
        return tensor.untyped_storage().data_ptr() is not None
    except RuntimeError:
        return False


@pytest.mark.parametrize("kind", ["none", "selective", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_what_pytorch_keeps(kind, dtype):
    def planned(layers):
        shape, training = Shape.read(SMALL | {"num_hidden_layers": layers}), replace(TRAINING, gradient_checkpointing=kind)
        parts = budget.memory(shape, training, Machine(1, 1, half=dtype == torch.bfloat16), 1, 0)
        return parts["activations"]

    measured = (kept_of_a_token(kind, dtype, 4) - kept_of_a_token(kind, dtype, 2)) / 2
    assert (planned(4) - planned(2)) / 2 == pytest.approx(measured, rel=0.02, abs=48)  # and a few numbers for each head and norm


def lines(name, *overrides):
    """The plan of a configuration, or of the CPT of a recipe."""
    if config.read(str(ROOT / "configs" / name))["stage"] == "run":
        settings = runner.stages(runner.load(str(ROOT / "configs" / name), [f"cpt.train.{each}" for each in overrides]))[
            "cpt.train"
        ]
    else:
        settings = config.load(str(ROOT / "configs" / name), [f"deepspeed={ROOT}/configs/deepspeed/zero1.json", *overrides])
    return settings, "\n".join(plan(settings))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/ladder").glob("*gb.yaml")), ids=lambda path: path.stem)
def test_every_run_of_the_ladder_fits_its_gpu_and_ends_within_a_day(path):
    _, text = lines(f"ladder/{path.name}")
    hours = next(line for line in text.splitlines() if " hours at " in line)
    assert 0 < float(hours.split()[0]) < 24
    assert "GiB of each GPU" in text


def test_a_training_that_cannot_fit_is_refused_with_what_it_needs():
    with pytest.raises(ValueError, match=r"gpu\.memory_gb=24: the training needs \d+\.\d GiB of each GPU \(weights 12\.6"):
        lines("spire/cpt.yaml", "gpu.memory_gb=24")
    with pytest.raises(ValueError, match="micro_batch_size"):
        lines("ladder/tower-7b-lora-80gb.yaml", "training.trainable=full")


def test_what_is_offloaded_is_planned_on_the_nodes():
    text = lines("spire/cpt.yaml", f"deepspeed={ROOT}/configs/deepspeed/zero3_offload.json")[1]
    assert f"{SPIRE.parameters * 18 / GIB:.1f} GiB of the nodes' own memory" in text
    assert "weights 0.0" in text and "masters and moments 0.0" in text
    assert "the nodes' own memory" not in lines("spire/cpt.yaml")[1]


def test_the_plan_of_spire_names_tokens_hours_and_checkpoints():
    settings, text = lines("spire/cpt.yaml")
    assert "5,898.24 M tokens" in text
    assert "6.780 B parameters, 6.780 B trained" in text
    speed = 8 * 989e12 * 0.4 / SPIRE.flops(2048)
    assert f"{5000 * settings.training.global_batch_tokens / speed / 3600:,.1f} hours at {speed:,.0f} tokens/s" in text
    assert "20 checkpoints of 94.9 GB, 2 kept" in text


def test_lora_targets_that_are_not_there_add_nothing():
    training = TrainingSettings(steps=1, global_batch_size=1, trainable="lora", lora=LoraSettings(rank=2, targets=("q_proj",)))
    assert SPIRE.trained(training, 0) == 32 * 2 * (4096 + 4096)
    assert GIB == 2**30
