"""What ends a training early: a loss that is none, a machine that goes, a disk that is full."""

import dataclasses
import shutil

import pytest

from spire_ray.training.checkpoints import places
from tests.training.small import TRAINING


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_checkpoint(trained, tmp_path):
    trained(tmp_path, dataclasses.replace(TRAINING, steps=4))
    with pytest.raises(
        ValueError, match=r"the loss of step 5 is nan; its rows of the pack: \d+, \d+, .*; the last checkpoint in .* is kept"
    ):
        trained(tmp_path, dataclasses.replace(TRAINING, unit_loss_weight=float("inf")))
    assert places.newest(places.place(str(tmp_path)))["step"] == 4


def test_a_loss_that_jumps_ends_the_training_and_names_step_and_rows(trained, tmp_path, monkeypatch):
    from spire_ray.training.engine import Engine

    step, calls = Engine.step, []

    def jumping(self, *arguments):
        calls.append(1)
        part, norm = step(self, *arguments)
        return part + (3.0 if len(calls) == 24 else 0.0), norm

    monkeypatch.setattr(Engine, "step", jumping)
    settings = dataclasses.replace(TRAINING, steps=40, save_every=10, max_loss_jump=2.0)
    with pytest.raises(ValueError, match=r"the loss of step 24 jumped to \d.* from a mean of .*; its rows of the pack: \d+, "):
        trained(tmp_path, settings)
    assert places.newest(places.place(str(tmp_path)))["step"] == 20


def test_without_a_bound_a_jump_passes(trained, tmp_path, monkeypatch):
    from spire_ray.training.engine import Engine

    step, calls = Engine.step, []

    def jumping(self, *arguments):
        part, norm = step(self, *arguments)
        calls.append(1)
        return part + (3.0 if len(calls) == 24 else 0.0), norm

    monkeypatch.setattr(Engine, "step", jumping)
    trained(tmp_path, dataclasses.replace(TRAINING, steps=26, save_every=13, max_loss_jump=0.0))
    assert places.newest(places.place(str(tmp_path)))["step"] == 26


@pytest.mark.parametrize(("left", "saved"), [(60.0, [3, 4, 5]), (0.0, [4, 5])])
def test_a_machine_that_is_to_go_gets_a_checkpoint_if_there_is_time(trained, tmp_path, left, saved):
    asked = []

    def seconds_left():
        asked.append(1)
        return left if len(asked) >= 3 else None

    settings = dataclasses.replace(TRAINING, steps=5, save_every=4, keep=9)
    trained(tmp_path, settings, seconds_left=seconds_left)
    assert sorted(int(path.name[5:]) for path in tmp_path.glob("step-*")) == saved


def test_a_disk_without_room_ends_the_training_before_it_writes(trained, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ValueError, match=r"no room for the checkpoint of step 4: \d.* GB to write, 0\.00 GB free in .*make room"):
        trained(tmp_path, TRAINING)
    assert not list(tmp_path.glob("step-*"))
    monkeypatch.undo()
    assert trained(tmp_path, TRAINING)[0][0][0] == 1


def test_a_place_that_vanishes_ends_the_training_with_one_line(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(places.Copy, "_run", lambda self: setattr(self, "error", "FileNotFoundError: no such bucket"))
    with pytest.raises(ValueError, match=r"output=memory://gone: the checkpoint of step 4 could not be copied there \(FileNot"):
        trained("memory://gone", TRAINING)
