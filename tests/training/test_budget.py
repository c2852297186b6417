"""The plan of a training, against what PyTorch counts and what is known of SPIRE's model."""

import json
from pathlib import Path

import pytest
import torch

from spire_ray import config
from spire_ray.distributed import plan_train
from spire_ray.settings import Lora, Training
from spire_ray.training import budget, trainable
from spire_ray.training.budget import GIB, Machine, Shape

ROOT = Path(__file__).parents[2]
SPIRE = Shape.read(json.loads((ROOT / "configs/shapes/llama-2-7b.json").read_text()))
TRAINING = Training(steps=1, batch_rows=1)


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "configs/shapes").glob("*.json")])
@pytest.mark.parametrize("kind", ["full", "lora", "units_only"])
def test_parameters_are_those_that_pytorch_counts(name, kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    data = json.loads((ROOT / "configs/shapes" / name).read_text()) | {"num_hidden_layers": 2}
    model_type = data.pop("model_type")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **data))
    shape, training = Shape.read({**data, "model_type": model_type}), Training(steps=1, batch_rows=1, trainable=kind)
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
        training = Training(steps=1, batch_rows=1, **changes)
        return sum(budget.memory(SPIRE, training, Machine(1, 1, half=True), 4096, 5056).values())

    assert total(gradient_checkpointing="full") < total(gradient_checkpointing="selective") < total()
    assert total(trainable="units_only") < total(trainable="lora") < total() / 2
    assert budget.checkpoint_bytes(SPIRE, TRAINING, Machine(8, 1, half=True), 0) / 1e9 == pytest.approx(94.9, abs=0.1)


def lines(name, *overrides):
    settings = config.load(str(ROOT / "configs" / name), [f"deepspeed={ROOT}/configs/deepspeed/zero1.json", *overrides])
    return settings, "\n".join(plan_train.plan(settings).lines)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/ladder").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_run_of_the_ladder_fits_its_gpu_and_ends_within_a_day(path):
    _, text = lines(f"ladder/{path.name}")
    hours = next(line for line in text.splitlines() if " hours at " in line)
    assert 0 < float(hours.split()[0]) < 24
    assert "GiB of each GPU" in text


def test_a_training_that_cannot_fit_is_refused_with_what_it_needs():
    with pytest.raises(
        ValueError, match=r"workers\.gpu_memory_gb=24: the training needs \d+\.\d GiB of each GPU \(weights 12\.6"
    ):
        lines("spire/cpt.yaml", "workers.gpu_memory_gb=24")
    with pytest.raises(ValueError, match="micro_batch_rows"):
        lines("ladder/tower-7b-lora-80gb.yaml", "training.trainable=full")


def test_the_plan_of_spire_names_tokens_hours_and_checkpoints():
    settings, text = lines("spire/cpt.yaml")
    assert "5,898.24 M token slots" in text
    assert "6.780 B parameters, 6.780 B trained" in text
    speed = 8 * 989e12 * 0.4 / SPIRE.flops(2048)
    assert f"{5000 * settings.training.batch_tokens / speed / 3600:,.1f} hours at {speed:,.0f} tokens/s" in text
    assert "20 checkpoints of 94.9 GB, 2 kept" in text


def test_lora_targets_that_are_not_there_add_nothing():
    training = Training(steps=1, batch_rows=1, trainable="lora", lora=Lora(rank=2, targets=("q_proj",)))
    assert SPIRE.trained(training, 0) == 32 * 2 * (4096 + 4096)
    assert GIB == 2**30
