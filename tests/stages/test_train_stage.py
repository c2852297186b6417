"""The stage around the training loop: metrics over restarts, the rows of an extension, one line for a failure."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spire_ray.core import config
from spire_ray.model import extension
from spire_ray.runtime import group
from spire_ray.settings import OptimizerSettings, TrainingSettings, TrainSettings
from spire_ray.stages import _train as train
from spire_ray.stages import export
from spire_ray.training import plan as plan_train

SETTINGS = TrainSettings(
    stage="cpt", output="out", model="m", pack="p", deepspeed="d.json", training=TrainingSettings(steps=9, global_batch_size=2)
)


class Tracked:
    def __init__(self):
        self.points = []

    def log_metrics(self, metrics, step):
        self.points.append((step, metrics))


def lines(folder):
    return [json.loads(line) for line in (folder / train.METRICS_FILE).read_text().splitlines()]


def test_lines_after_the_checkpoint_of_a_restart_are_dropped(tmp_path):
    settings = config.validate({**config.to_dict(SETTINGS), "output": str(tmp_path)})
    log = train._Log(settings, Tracked(), 0)
    for step in range(1, 7):
        log(step, {"loss": step / 10})
    log = train._Log(settings, Tracked(), 4)
    for step in range(5, 10):
        log(step, {"loss": step / 5})
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 10))
    assert [line["loss"] for line in lines(tmp_path)][3:6] == [0.4, 1.0, 1.2]


def test_mlflow_gets_the_same_points_with_names_in_groups(tmp_path):
    tracked = Tracked()
    log = train._Log(config.validate({**config.to_dict(SETTINGS), "output": str(tmp_path)}), tracked, 0)
    log(3, {"loss": 0.5, "held_out/asr.en": 0.4, "lr/weights": 1e-3})
    assert tracked.points == [(3, {"train/loss": 0.5, "held_out/asr.en": 0.4, "lr/weights": 1e-3})]


def test_the_new_rows_begin_where_the_folder_says(fresh_model, tiny_base, tmp_path):
    units, first_new_token_id = extension.new_rows(fresh_model)
    assert first_new_token_id == units.start
    assert len(units) == 20
    stated = json.loads(Path(fresh_model, "spire.json").read_text())
    assert stated["units"]["first_new_row"] == units.start
    stated["units"]["first_new_row"] -= 5  # as where words of another kind were added before the units
    (tmp_path / "spire.json").write_text(json.dumps(stated))
    assert extension.new_rows(str(tmp_path)) == (units, units.start - 5)
    assert extension.new_rows(tiny_base)[0] == range(0)


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ({0: SimpleNamespace(_base_exc=RuntimeError("x\nCUDA out of memory. Tried 2 GiB"))}, "CUDA out of memory. Tried 2 GiB"),
        ({}, "At least one of the workers failed to start"),
        ({1: OSError(28, "No space left on device")}, "[Errno 28] No space left on device"),
        (
            {0: RuntimeError("2 worker(s) were killed due to the node running low on memory. Memory was 9 GB.\nTop 10: 1 2.")},
            "2 worker(s) were killed due to the node running low on memory; use nodes with more memory, or fewer "
            "training.micro_batch_size, and run it again",
        ),
    ],
)
def test_a_training_whose_workers_failed_too_often_ends_with_one_line(failures, told):
    error = RuntimeError("At least one of the workers failed to start")
    error.worker_failures = failures
    reason = group.reason(error, train._group(SETTINGS))
    assert "\n" not in reason
    assert f"the workers failed 4 times; the last failure: {told}" in reason
    assert "run it again to go on from the newest checkpoint" in reason


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("tiny_base", "has no unit tokens, but pack=.* holds some; extend_model adds them"),
        ("other", "the units of model=.* and of pack=.* do not mean the same: codebook 'another' against "),
    ],
)
def test_units_that_the_model_does_not_know_are_refused_before_the_workers_start(model, told, request, tmp_path, tiny_pack):
    fresh = Path(request.getfixturevalue("fresh_model"))
    shutil.copytree(fresh, tmp_path / "other")
    known = json.loads((fresh / "spire.json").read_text())
    pack = shutil.copytree(tiny_pack, tmp_path / "pack")
    index = json.loads((pack / "index.json").read_text())
    (pack / "index.json").write_text(json.dumps(index | {"fingerprint": known["units"]["fingerprint"]}))
    (tmp_path / "zero1.json").write_text("{}")
    settings = {"pack": str(pack), "deepspeed": str(tmp_path / "zero1.json")}
    plan_train.plan(replace(SETTINGS, model=str(fresh), **settings))
    known["units"]["fingerprint"]["identity"]["codebook"] = "another"
    (tmp_path / "other" / "spire.json").write_text(json.dumps(known))
    with pytest.raises(ValueError, match=told):
        plan_train.plan(
            replace(SETTINGS, model=request.getfixturevalue(model) if model != "other" else str(tmp_path / model), **settings)
        )


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (TrainingSettings(steps=9), "global_batch_tokens=0, training.global_batch_size=0: give one of the two"),
        (TrainingSettings(steps=9, global_batch_size=2, global_batch_tokens=96), "give one of the two"),
        (TrainingSettings(steps=9, global_batch_tokens=97), "global_batch_tokens=97: must be a multiple of the row length"),
        (
            TrainingSettings(steps=9, global_batch_size=3, micro_batch_size=2),
            r"global_batch_size=3: must be a multiple of micro_batch_size × workers = 2 × 1",
        ),
        (
            TrainingSettings(steps=9, global_batch_size=2, optimizer=OptimizerSettings(name="muon", clip=1.0)),
            "clip=1.0: must be 0 with muon",
        ),
    ],
)
def test_what_a_step_cannot_be_is_refused_by_the_plan(training, told, fresh_model, tiny_pack, tmp_path):
    (tmp_path / "zero1.json").write_text("{}")
    given = {"model": fresh_model, "pack": tiny_pack, "deepspeed": f"{tmp_path}/zero1.json", "workers": 1}
    with pytest.raises(ValueError, match=told):
        plan_train.plan(replace(SETTINGS, training=training, **given))


@pytest.mark.parametrize("made", ["", '{"stage": "corpus", "resolved": {}}'])
def test_only_a_training_can_be_exported(made, tmp_path):
    if made:
        (tmp_path / "run.json").write_text(made)
    with pytest.raises(ValueError, match=f"training={tmp_path}: is no output of cpt or it"):
        export._training(str(tmp_path))


def test_what_only_says_how_a_training_runs_may_change_between_starts():
    def identity(**changes):
        data = config.to_dict(SETTINGS)
        data["training"] |= changes.pop("training", {})
        return config.identity(config.validate({**data, **changes}))

    same = identity()
    assert identity(workers=4, deepspeed="other.json", training={"micro_batch_size": 2, "save_every": 7}) == same
    assert identity(training={"steps": 10}) != same
    assert identity(training={"trainable": "lora"}) != same
