"""The trainer, with DeepSpeed: it learns, it equals plain PyTorch, and a stop leaves no trace."""

import dataclasses
import shutil
from collections import Counter
from itertools import islice

import pytest
import torch

from spire_ray.core import storage
from spire_ray.packs.pack import Pack
from spire_ray.settings import HeldOutSettings, LoraSettings
from spire_ray.training.batch import collate
from spire_ray.training.checkpoints import ledger, places, record
from spire_ray.training.loss import PackedLoss
from spire_ray.training.schedule import rate
from tests.training.small import OPTIMISER, TRAINING, Stop


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *trained(folder, TRAINING)


def plain_pytorch(model, folder, training):
    """The same training without DeepSpeed: the losses and gradient norms of its steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.optimizer.lr, weight_decay=0.1)
    rows, loss = Pack(folder).stream(training.seed), PackedLoss(model)
    for step in range(training.steps):
        chosen = list(islice(rows, training.global_batch_size))
        micro = [collate(chosen[i : i + training.micro_batch_size]) for i in range(0, len(chosen), training.micro_batch_size)]
        weight = sum(float(batch.weights.sum()) for batch in micro)
        for group in optimizer.param_groups:
            group["lr"] = training.optimizer.lr * rate(training.optimizer, step, training.steps)
        parts = [loss(batch) / weight for batch in micro]
        sum(parts).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
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
    weights_file = next((tmp_path / record.name(8)).glob("*model_states.pt"))
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
    found = places.newest(places.place(str(folder)))
    assert {key: found[key] for key in ("step", "position", "world_size", "mlflow_run_id")} == {
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


def test_every_row_is_in_one_step_of_each_epoch(trained, tiny_pack, tmp_path):
    rows = len(Pack(tiny_pack))
    steps = -(-2 * rows // TRAINING.global_batch_size)
    trained(tmp_path, dataclasses.replace(TRAINING, steps=steps, save_every=5))
    taken = [row for _, rows_of_step in sorted(ledger.read(str(tmp_path)).items()) for row in rows_of_step]
    counts = Counter(taken)
    assert len(taken) == steps * TRAINING.global_batch_size
    assert set(counts) == set(range(rows))
    assert all(2 <= counts[row] <= 3 for row in counts)


def test_a_stopped_training_leaves_the_ledger_of_an_undisturbed_one(trained, undisturbed, tmp_path):
    def stop(step, _):
        if step == 6:
            raise Stop

    with pytest.raises(Stop):
        trained(tmp_path, TRAINING, stop)
    assert list(ledger.read(str(tmp_path))) == [1, 2, 3, 4]
    trained(tmp_path, TRAINING)
    assert ledger.read(str(tmp_path)) == ledger.read(str(undisturbed[0]))


def test_loss_norm_micro_batch_is_the_mean_of_means(trained, fresh_model, tiny_pack, tmp_path):
    from transformers import AutoModelForCausalLM

    (_, metrics), *_ = trained(tmp_path, dataclasses.replace(TRAINING, steps=1, loss_norm="micro_batch"))[0]
    loss = PackedLoss(AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32))
    rows = list(islice(Pack(tiny_pack).stream(TRAINING.seed), TRAINING.global_batch_size))
    means = [float(loss(batch).detach()) / len(batch.targets) for batch in (collate(rows[:2]), collate(rows[2:]))]
    assert metrics["loss"] == pytest.approx(sum(means) / 2, rel=1e-5)


def test_a_batch_in_tokens_is_the_same_training(trained, undisturbed, tmp_path):
    length = 48
    lines, _ = trained(tmp_path, dataclasses.replace(TRAINING, steps=2, global_batch_size=0, global_batch_tokens=4 * length))
    expected = [metrics["loss"] for _, metrics in undisturbed[1][:2]]
    assert lines[0][1]["loss"] == expected[0]


def test_metrics_name_rates_position_and_memory(undisturbed):
    _, last = undisturbed[1][-1]
    assert last["lr/weights"] == pytest.approx(OPTIMISER.lr * last["rate"])
    assert last["rows"] == 40
    assert 0.05 < last["memory_gb"] < 50
    assert 0 < last["save_share"] < 1


def test_held_out_loss_is_that_of_the_rows_alone_by_source(trained, fresh_model, tiny_pack, tmp_path):
    settings = HeldOutSettings(pack=tiny_pack, every=5, rows=5)
    lines, weights = trained(tmp_path, dataclasses.replace(TRAINING, log_every=100), held_out=settings)
    measured = [(step, metrics) for step, metrics in lines if "held_out/all" in metrics]
    assert [step for step, _ in measured] == [5, 10]
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32)
    model.load_state_dict(weights)
    batch = collate(list(islice(Pack(tiny_pack).epoch(0, 0), 5)))
    expected = float(PackedLoss(model)(batch).detach()) / len(batch.targets)
    assert measured[-1][1] == pytest.approx({"held_out/asr.en": expected, "held_out/all": expected}, rel=1e-5)


def test_measuring_held_out_loss_changes_no_bit(trained, undisturbed, tiny_pack, tmp_path):
    _, weights = trained(tmp_path, TRAINING, held_out=HeldOutSettings(pack=tiny_pack, every=3, rows=3))
    assert all(torch.equal(weights[name], tensor) for name, tensor in undisturbed[2].items())


def test_checkpoints_at_a_url_are_copied_and_a_lost_disk_is_brought_back(trained, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "disk"))
    place = "memory://checkpoints/train"

    def stop(step, _):
        if step == 9:
            raise Stop

    with pytest.raises(Stop):
        trained(place, TRAINING, stop)
    shutil.rmtree(tmp_path / "disk")
    lines, weights = trained(place, TRAINING)
    assert lines[0][0] in (5, 9)  # the copy of step 8 may have been under way
    assert all(torch.equal(weights[name], tensor) for name, tensor in undisturbed[2].items())
    assert [name for name in storage.listing(place) if name.startswith("step-")][-1] == "step-00000010"
    assert ledger.read(place) == ledger.read(str(undisturbed[0]))


@pytest.mark.parametrize("kind", ["lora", "units_only", "new rows apart"])
def test_a_stopped_training_of_a_part_ends_with_the_same_bits(trained, tmp_path, kind):
    part = {"optimizer": dataclasses.replace(OPTIMISER, new_rows_lr=3e-2)} if kind == "new rows apart" else {"trainable": kind}
    settings = dataclasses.replace(TRAINING, steps=6, save_every=3, lora=LoraSettings(rank=4, alpha=8), **part)

    def stop(step, _):
        if step == 4:
            raise Stop

    lines, weights = trained(tmp_path / "undisturbed", settings)
    with pytest.raises(Stop):
        trained(tmp_path / "stopped", settings, stop)
    again, same = trained(tmp_path / "stopped", settings)
    assert [metrics["loss"] for _, metrics in again] == [metrics["loss"] for _, metrics in lines][3:]
    assert lines[-1][1]["loss"] < lines[0][1]["loss"]
    assert all(torch.equal(same[name], tensor) for name, tensor in weights.items())


def test_gradient_checkpointing_is_at_work_in_the_loop(trained, undisturbed, tmp_path, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    forward, calls = LlamaMLP.forward, []

    def counted(self, hidden):
        calls.append(1)
        return forward(self, hidden)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    numbers = {}
    for kind in ("none", "selective", "full"):
        calls.clear()
        lines, _ = trained(tmp_path / kind, dataclasses.replace(TRAINING, steps=2, gradient_checkpointing=kind))
        numbers[kind] = len(calls)
        assert lines[0][1]["loss"] == undisturbed[1][0][1]["loss"]
    assert numbers["selective"] == numbers["full"] == 2 * numbers["none"]
