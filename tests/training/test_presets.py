"""Every file of `configs/deepspeed`, and a compiled model, train as the plain engine does."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from spire_ray.settings import OptimizerSettings, TrainingSettings
from spire_ray.training.checkpoints import places

PRESETS = sorted((Path(__file__).parents[2] / "configs" / "deepspeed").glob("*.json"))
OPTIMISER = OptimizerSettings(lr=1e-2, warmup_steps=2, clip=0.5, weight_decay=0.1)
TRAINING = TrainingSettings(steps=4, global_batch_size=4, micro_batch_size=2, optimizer=OPTIMISER, save_every=2, log_every=1)


@pytest.fixture(scope="module")
def expected(trained, tmp_path_factory):
    return losses(trained(tmp_path_factory.mktemp("plain"), TRAINING))


def losses(done):
    return [metrics["loss"] for _, metrics in done[0]]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_gives_the_same_losses_and_goes_on_where_it_stopped(trained, expected, tmp_path, path):
    given = json.loads(path.read_text())
    zero, types = given["zero_optimization"], given.get("data_types")

    def stop(step, _):
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(tmp_path, TRAINING, stop, zero=zero, data_types=types)
    assert places.newest(places.place(str(tmp_path)))["step"] == 2
    assert losses(trained(tmp_path, TRAINING, zero=zero, data_types=types)) == pytest.approx(expected[2:], rel=1e-5)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler on CPUs")
def test_a_compiled_model_gives_the_same_losses(trained, expected, tmp_path, monkeypatch):
    import torch
    from torch._dynamo.utils import counters

    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "0")
    monkeypatch.setattr(torch._dynamo.config, "disable", False)
    counters.clear()
    assert losses(trained(tmp_path, dataclasses.replace(TRAINING, compile=True))) == pytest.approx(expected, rel=1e-5)
    assert counters["stats"]["unique_graphs"] > 0
    torch.compiler.reset()
