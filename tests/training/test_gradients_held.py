"""Gradients are added up in float32, and the memory that takes is in the plan."""

import gc
import json
from pathlib import Path

import pytest
import torch

from spire_ray.settings import OptimizerSettings, TrainingSettings
from spire_ray.training.budget import Machine, Shape, memory

PRESETS = Path(__file__).parents[2] / "configs" / "deepspeed"
TRAINING = TrainingSettings(
    steps=2,
    global_batch_size=4,
    micro_batch_size=2,
    save_every=9,
    log_every=1,
    optimizer=OptimizerSettings(lr=1e-2, warmup_steps=0),
)
_BUCKET = 100 << 20
"""ZeRO-3 has one of 5e8 numbers, which the plan counts among buffers; nothing else here is nearly as large."""
HELD = ("weights", "gradients", "float32 gradients", "flat copy of gradients", "masters and moments")


def preset(name):
    return json.loads((PRESETS / f"{name}.json").read_text())


def alive():
    """Storages of all real numbers in this process: place → bytes."""
    found = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                if tensor is not None and tensor.is_floating_point():
                    try:
                        storage = tensor.untyped_storage()
                        found[storage.data_ptr()] = storage.nbytes()
                    except RuntimeError:  # let go by ZeRO-3
                        continue
    return found


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3"])
def test_the_plan_counts_what_deepspeed_holds_at_the_update(name, trained, fresh_model, tmp_path, monkeypatch):
    given = preset(name)
    shape = Shape.read(json.loads((Path(fresh_model) / "config.json").read_text()))
    machine = Machine.read({**given, "bf16": {**given["bf16"], "enabled": True}}, 1)
    assert machine.half and machine.exact_sums
    parts = memory(shape, TRAINING, machine, 48, 0)
    gc.collect()
    before, measured = set(alive()), []
    step = torch.optim.AdamW.step

    def counted(self, *arguments, **named):
        step(self, *arguments, **named)
        now = alive()
        new = [size for place, size in now.items() if place not in before]
        measured.append(sum(size for size in new if size < _BUCKET))

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    trained(tmp_path, TRAINING, zero=given["zero_optimization"], half=True, bf16=given["bf16"], data_types=given["data_types"])
    planned = sum(parts[part] for part in HELD)
    assert measured[-1] == pytest.approx(planned, rel=0.06)  # activations of the last row are alive, too


@pytest.mark.long
def test_gradients_of_many_micro_batches_are_added_up_in_float32(trained, tmp_path):
    """Over 256 of them the norm is off by 1 % where they are added up in bfloat16, by 0.2 % as the presets have it."""
    many = TrainingSettings(
        steps=1, global_batch_size=256, save_every=9, optimizer=OptimizerSettings(lr=1e-2, warmup_steps=0, clip=0.0)
    )

    def norm(folder, given, half):
        more = {"bf16": given["bf16"], "data_types": given["data_types"]}
        return trained(tmp_path / folder, many, zero=given["zero_optimization"], half=half, **more)[0][0][1]["grad_norm"]

    exact = norm("exact", preset("zero1"), False)
    assert norm("zero1", preset("zero1"), True) == pytest.approx(exact, rel=4e-3)
    assert norm("zero2", preset("zero2"), True) == pytest.approx(exact, rel=4e-3)


def test_one_gpu_of_141_gb_takes_a_full_7b_with_gradients_in_float32_alone():
    shape = Shape.read(json.loads((PRESETS.parent / "shapes" / "llama-2-7b.json").read_text()))
    training = TrainingSettings(steps=1, global_batch_size=1, gradient_checkpointing="full")
    exact = Machine.read({**preset("zero1"), "bf16": {"enabled": True, "immediate_grad_update": True}}, 1)
    rounded = Machine.read({"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}}, 1)
    needed = [sum(memory(shape, training, machine, 4096, 0).values()) / 2**30 for machine in (exact, rounded)]
    assert needed[0] < 131 < 139 < needed[1]  # 18 and 22 bytes a parameter
