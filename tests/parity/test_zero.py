"""ZeRO 0 to 3 on two workers against a plain PyTorch loop on one: the same curve, on rows of unequal answer lengths."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from spire_ray.packs.pack import Pack
from spire_ray.settings import OptimizerSettings
from spire_ray.training.batch import collate
from spire_ray.training.loss import PackedLoss
from spire_ray.training.schedule import rate
from tests.training import phases

STEPS = 50
GOLDEN = Path(__file__).parent / "golden_losses.json"
pytestmark = pytest.mark.long


def plain_pytorch(model, pack):
    """Losses of the same training without DeepSpeed, without workers, without accumulation."""
    settings = OptimizerSettings(**phases.OPTIMISER)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    rows, loss = Pack(pack).stream(0), PackedLoss(model)
    for step in range(STEPS):
        batch = collate(list(islice(rows, phases.TRAINING["global_batch_size"])))
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * rate(settings, step, STEPS)
        value = loss(batch) / batch.weights.sum()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        yield value.item()


@pytest.fixture(scope="module")
def curves(tmp_path_factory, fresh_model):
    from transformers import AutoModelForCausalLM

    from spire_ray.text.tokenizer import SpeechTokenizer

    folder = tmp_path_factory.mktemp("zero")
    packs = {"it": phases.answers_pack(folder / "pack", SpeechTokenizer(fresh_model))}
    run = phases.Phases(folder, fresh_model, packs["it"])
    training = {"steps": STEPS, "save_every": 1000}
    for stage in range(4):
        run.add(f"zero{stage}", 2, stage, training=training)
    run.add("mean of means", 2, 1, training={**training, "loss_norm": "micro_batch"})
    measured = {name: list(phases.losses(metrics).values()) for name, metrics in run.run().items()}
    model = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32)
    return measured | {"plain": list(plain_pytorch(model, packs["it"]))}


@pytest.mark.parametrize("stage", range(4))
def test_every_stage_follows_the_plain_loop(curves, stage):
    assert curves[f"zero{stage}"] == pytest.approx(curves["plain"], rel=1e-5)


def test_a_mean_of_means_drifts_which_shows_that_the_rows_are_unequal(curves):
    drift = max(abs(a - b) / b for a, b in zip(curves["mean of means"], curves["plain"], strict=True))
    assert drift > 1e-4


def test_losses_are_the_golden_ones(curves):
    assert curves["plain"] == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4)
