"""What a training cannot do as it says is refused by its plan, in one line, before a worker starts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spire_ray.core import config
from spire_ray.core.provenance import Output
from spire_ray.settings import LoraSettings, OptimizerSettings, TrainingSettings, TrainSettings
from spire_ray.stages import _train as train
from spire_ray.training import plan as plan_train


@pytest.fixture
def settings(fresh_model, tiny_pack, tmp_path):
    (tmp_path / "zero1.json").write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    given = {"output": str(tmp_path / "out"), "model": fresh_model, "pack": tiny_pack, "deepspeed": f"{tmp_path}/zero1.json"}
    return TrainSettings(stage="cpt", training=TrainingSettings(steps=9, global_batch_size=2), **given)


def deepspeed(settings, tmp_path, **preset):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(preset))
    return replace(settings, deepspeed=str(path))


Lora, Optimizer = LoraSettings, OptimizerSettings
MUON = Optimizer(name="muon", clip=0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": Optimizer(betas=(0.9, 1.0))}, r"optimizer\.betas=\[0\.9, 1\.0\]: each must be at least 0 and below 1"),
        ({"optimizer": Optimizer(betas=(-0.1, 0.9))}, r"training\.optimizer\.betas="),
        ({"optimizer": Optimizer(warmup_steps=10)}, r"training\.optimizer\.warmup_steps=10: longer than the training, .*steps=9"),
        ({"unit_loss_weight": 0.0, "text_loss_weight": 0.0}, "nothing is counted; one must be above 0"),
        ({"trainable": "lora", "lora": Lora(targets=("q_proj", "c_attn"))}, "llama has no linear layer c_attn; it has"),
        ({"trainable": "lora", "lora": Lora(targets=())}, r"training\.lora\.targets=\[\]: name at least one"),
        ({"trainable": "lora", "optimizer": MUON}, r"training\.trainable=lora: use optimizer\.name=adamw"),
        ({"steps": None}, r"training\.steps=None, training\.epochs=None: give one of the two"),
        ({"epochs": 2.0}, r"training\.steps=9, training\.epochs=2\.0: give one of the two"),
    ],
)  # fmt: skip
def test_a_training_that_would_do_something_else_is_refused(settings, changes, told):
    with pytest.raises(ValueError, match=told) as refused:
        plan_train.plan(replace(settings, training=replace(settings.training, **changes)))
    assert "\n" not in str(refused.value)
    plan_train.plan(settings)


def test_a_short_training_warms_up_no_longer_than_it_lasts(settings):
    from spire_ray.training import schedule

    assert [schedule.warmup(OptimizerSettings(), steps) for steps in (9, 100, 5000)] == [9, 100, 100]
    assert schedule.rate(OptimizerSettings(), 8, 9) == 1.0


def test_muon_needs_whole_matrices(settings, tmp_path):
    training = replace(settings.training, optimizer=MUON)
    other = deepspeed(settings, tmp_path, zero_optimization={"stage": 3}, bf16={"enabled": False})
    with pytest.raises(ValueError, match="muon needs whole matrices, which ZeRO stage 3 partitions"):
        plan_train.plan(replace(other, training=training))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"attention_dropout": 0.1}, "model: llama with attention_dropout=0.1"),
        ({"model_type": "jamba"}, "model: model_type=jamba is not among the"),
        ({"model_type": "mixtral"}, r"training\.trainable=full: mixtral stores its experts in another form"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(settings, tmp_path, changed, told):
    model = tmp_path / "model"
    shutil.copytree(settings.model, model)
    known = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(known | changed))
    with pytest.raises(ValueError, match=told):
        plan_train.plan(replace(settings, model=str(model)))


# --- how long -------------------------------------------------------------------------------------------------------


def test_epochs_become_steps_where_the_pack_is_there(settings, tiny_pack):
    rows = json.loads((Path(tiny_pack) / "index.json").read_text())["rows"]
    training = replace(settings.training, steps=None, epochs=4.0)
    steps = -(-4 * rows // 2)
    text = "\n".join(plan_train.plan(replace(settings, training=training)))
    assert f"{steps} steps of " in text
    assert f"{steps * 2 / rows:.2f} epochs of {rows} rows" in text
    assert "4 epochs, whose steps are known with the pack" in "\n".join(
        plan_train.plan(replace(settings, training=training, pack="/not/there"))
    )


def test_a_batch_in_rows_is_planned_while_neither_model_nor_pack_is_there(settings):
    nowhere = replace(settings, model="/not/there", pack="/nor/there")
    assert plan_train.plan(nowhere) == ["9 steps of 2 rows on 1 workers"]


def finished(settings):
    output = Output.open(settings)
    output.begin(settings)
    output.finish(facts={})


@pytest.mark.parametrize("field", ["steps", "epochs"])
def test_a_finished_training_goes_on_when_it_is_asked_for_more(settings, field):
    def lasting(length):
        return replace(settings, training=replace(settings.training, **{"steps": None, field: length}))

    finished(lasting(9))
    assert Output.open(lasting(9)).complete and not train.longer(lasting(9))
    Output.open(lasting(12))
    assert train.longer(lasting(12))
    with pytest.raises(ValueError, match=rf"was made with other config \(training\.{field}: 9"):
        Output.open(lasting(8))
    with pytest.raises(ValueError, match="was made with other config"):
        Output.open(replace(lasting(12), training=replace(lasting(12).training, seed=1)))


def test_a_longer_training_that_is_stopped_is_not_taken_for_finished(settings):
    finished(settings)
    longer = replace(settings, training=replace(settings.training, steps=12))
    Output.open(longer).begin(longer)
    assert not Output.open(longer).complete
    assert Output.open(longer).record["config"] == config.identity(longer)


# --- the same output, another engine --------------------------------------------------------------------------------


PRESETS = {
    "zero0": {"zero_optimization": {"stage": 0}},
    "zero1": {"zero_optimization": {"stage": 1}},
    "zero2": {"zero_optimization": {"stage": 2}},
    "zero3": {"zero_optimization": {"stage": 3}},
    "bf16": {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}},
}
TRAINING = TrainingSettings(
    steps=2, global_batch_size=2, save_every=2, log_every=1, optimizer=OptimizerSettings(lr=1e-2, warmup_steps=0)
)


@pytest.mark.parametrize(
    ("first", "then"),
    [("zero0", "zero1"), ("zero1", "zero0"), ("zero1", "zero3"), ("zero3", "zero1"), ("zero1", "bf16"), ("bf16", "zero1")],
)
def test_checkpoints_of_another_stage_or_precision_are_refused_before_a_worker_starts(
    trained, settings, tmp_path, first, then, monkeypatch
):
    given = PRESETS[first]
    trained(settings.output, TRAINING, zero=given["zero_optimization"], half="bf16" in given)
    plan_train.plan(deepspeed(settings, tmp_path, **given))
    with pytest.raises(
        ValueError, match=r"the checkpoints in .* which cannot be read as .* use the same stage and precision, or an"
    ):
        plan_train.plan(deepspeed(settings, tmp_path, **PRESETS[then]))
    other = PRESETS[then]
    with pytest.raises(ValueError, match="which cannot be read as"):  # where bfloat16 is left to the machine
        trained(settings.output, replace(TRAINING, steps=4), zero=other["zero_optimization"], half="bf16" in other)


def test_stages_1_and_2_read_each_others_checkpoints(trained, settings, tmp_path):
    short = replace(TRAINING, optimizer=replace(TRAINING.optimizer, schedule="constant"))
    longer = replace(short, steps=4)
    _, weights = trained(tmp_path / "undisturbed", longer)
    for first, then in ((1, 2), (2, 1)):
        folder = tmp_path / f"{first}{then}"
        trained(folder, short, zero={"stage": first})
        lines, found = trained(folder, longer, zero={"stage": then})
        assert [step for step, _ in lines] == [3, 4]
        assert all(weights[name].allclose(found[name], atol=1e-5) for name in weights)
