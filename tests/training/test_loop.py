"""The training loop with DeepSpeed: it learns, it equals plain PyTorch, and a stop leaves no trace."""

import dataclasses
from itertools import islice

import pytest
import torch

from spire_ray.settings import Optimiser, Training
from spire_ray.text.pack import Pack
from spire_ray.training import checkpoint
from spire_ray.training.batch import collate
from spire_ray.training.loss import PackedLoss
from spire_ray.training.schedule import rate

OPTIMISER = Optimiser(lr=1e-2, warmup_steps=2, clip=0.5, weight_decay=0.1, schedule="cosine")
TRAINING = Training(steps=10, batch_rows=4, micro_batch_rows=2, optimiser=OPTIMISER, save_every=4, keep=2, log_every=1)


class Stop(Exception):
    """The machine goes away."""


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *trained(folder, TRAINING)


def plain_pytorch(model, folder, training):
    """The same training without DeepSpeed: the losses and gradient norms of its steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.optimiser.lr, weight_decay=0.1)
    rows, loss = Pack(folder).stream(training.seed), PackedLoss(model)
    for step in range(training.steps):
        chosen = list(islice(rows, training.batch_rows))
        micro = [collate(chosen[i : i + training.micro_batch_rows]) for i in range(0, len(chosen), training.micro_batch_rows)]
        weight = sum(float(batch.weights.sum()) for batch in micro)
        for group in optimiser.param_groups:
            group["lr"] = training.optimiser.lr * rate(training.optimiser, step, training.steps)
        parts = [loss(batch) / weight for batch in micro]
        sum(parts).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.optimiser.clip)
        optimiser.step()
        optimiser.zero_grad()
        yield sum(parts).item(), norm.item()


def test_losses_norms_and_weights_equal_those_of_a_plain_pytorch_loop(undisturbed, fresh_model, tiny_pack):
    from transformers import AutoModelForCausalLM

    _, lines, weights = undisturbed
    model = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32)
    losses, norms = zip(*plain_pytorch(model, tiny_pack, TRAINING), strict=True)
    assert [metrics["loss"] for _, metrics in lines] == pytest.approx(losses, rel=1e-5)
    assert [metrics["grad_norm"] for _, metrics in lines] == pytest.approx(norms, rel=1e-5)
    assert max(norms) > OPTIMISER.clip  # else clipping was not tried
    for name, tensor in model.state_dict().items():
        assert torch.allclose(weights[name], tensor, atol=1e-5), name


def test_the_loss_falls(undisturbed):
    losses = [metrics["loss"] for _, metrics in undisturbed[1]]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("stopped_at", [3, 5, 9])
def test_a_stopped_training_ends_with_the_same_bits(trained, undisturbed, tmp_path, stopped_at):
    def stop(step, _):
        if step == stopped_at:
            raise Stop

    with pytest.raises(Stop):
        trained(tmp_path, TRAINING, stop)
    lines, weights = trained(tmp_path, TRAINING)
    assert lines[0][0] == 1 + TRAINING.save_every * (stopped_at // TRAINING.save_every)
    assert all(torch.equal(weights[name], tensor) for name, tensor in undisturbed[2].items())
    assert [metrics["loss"] for _, metrics in lines] == [metrics["loss"] for _, metrics in undisturbed[1]][-len(lines) :]


def test_a_damaged_checkpoint_is_passed_and_the_end_is_the_same(trained, undisturbed, tmp_path, capsys):
    def stop(step, _):
        if step == 9:
            raise Stop

    with pytest.raises(Stop):
        trained(tmp_path, TRAINING, stop)
    weights_file = next((tmp_path / checkpoint.name(8)).glob("*model_states.pt"))
    weights_file.write_bytes(weights_file.read_bytes()[:-7])
    lines, weights = trained(tmp_path, TRAINING)
    assert lines[0][0] == 5
    assert "step-00000008: passed over" in capsys.readouterr().out
    assert all(torch.equal(weights[name], tensor) for name, tensor in undisturbed[2].items())


def test_a_finished_training_is_not_trained_further(trained, undisturbed, capsys):
    folder, _, weights = undisturbed
    lines, again = trained(folder, TRAINING)
    assert lines == []
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())


def test_checkpoints_say_where_they_stand_and_the_oldest_goes(undisturbed):
    folder = undisturbed[0]
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000008", "step-00000010"]
    record = checkpoint.newest(str(folder))
    assert {key: record[key] for key in ("step", "position", "world_size", "mlflow_run_id")} == {
        "step": 10,
        "position": {"rows": 40},
        "world_size": 1,
        "mlflow_run_id": "r",
    }


def test_metrics_are_means_since_the_last_line(trained, undisturbed, tiny_pack, tmp_path):
    rare = dataclasses.replace(TRAINING, log_every=4)
    lines, _ = trained(tmp_path, rare)
    losses = [metrics["loss"] for _, metrics in undisturbed[1]]
    assert [step for step, _ in lines] == [4, 8, 10]
    expected = [sum(losses[a:b]) / (b - a) for a, b in ((0, 4), (4, 8), (8, 10))]
    assert [metrics["loss"] for _, metrics in lines] == pytest.approx(expected)
    assert lines[-1][1]["epoch"] == pytest.approx(40 / len(Pack(tiny_pack)))


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_checkpoint(trained, tmp_path):
    trained(tmp_path, dataclasses.replace(TRAINING, steps=4))
    with pytest.raises(
        ValueError, match=r"the loss of step 5 is nan; its rows of the pack: \d+, \d+, .*; the last checkpoint in .* is kept"
    ):
        trained(tmp_path, dataclasses.replace(TRAINING, unit_loss_weight=float("inf")))
    assert checkpoint.newest(str(tmp_path))["step"] == 4
