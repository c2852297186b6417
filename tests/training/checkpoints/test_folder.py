"""Checkpoints: a start takes the newest one that is whole, and says what it passes over."""

import json

import pytest

from spire_ray.training.checkpoints import places, record


def make(folder, step, finished=True):
    path = folder / record.name(step)
    (path / "global").mkdir(parents=True)
    (path / "weights.pt").write_bytes(bytes(range(256)) * 40)
    (path / "global" / "optimizer.pt").write_bytes(b"x" * 1000)
    if finished:
        facts = {"world_size": 2, "position": {"rows": step * 8}}
        record.complete(str(folder), step, facts, record.describe(str(folder), step))
    return path


def newest(folder):
    return places.newest(places.place(str(folder)))


def test_without_checkpoints_there_is_none(tmp_path):
    assert newest(tmp_path) is None
    assert newest(tmp_path / "absent") is None


def test_the_newest_complete_one_is_taken_with_its_record(tmp_path, capsys):
    for step in (400, 90, 1200):
        make(tmp_path, step)
    found = newest(tmp_path)
    assert (found["step"], found["world_size"], found["position"]) == (1200, 2, {"rows": 9600})
    assert found["files"]["weights.pt"]["bytes"] == 10_240
    assert set(found["files"]) == {"weights.pt", "global/optimizer.pt"}
    assert capsys.readouterr().out == ""


def truncate(path):
    (path / "weights.pt").write_bytes((path / "weights.pt").read_bytes()[:-1])


def change_a_byte(path):
    data = bytearray((path / "weights.pt").read_bytes())
    data[5000] ^= 1
    (path / "weights.pt").write_bytes(data)


def lose_a_file(path):
    (path / "global" / "optimizer.pt").unlink()


def lose_the_mark(path):
    (path / "COMPLETE.json").unlink()


def break_the_mark(path):
    mark = path / "COMPLETE.json"
    mark.write_bytes(mark.read_bytes()[:100])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (truncate, "weights.pt is damaged"),
        (change_a_byte, "weights.pt is damaged"),
        (lose_a_file, "global/optimizer.pt is missing"),
        (lose_the_mark, "no COMPLETE.json"),
        (break_the_mark, "COMPLETE.json is damaged"),
    ],
)
def test_a_damaged_one_is_passed_over_with_a_line(tmp_path, capsys, harm, reason):
    make(tmp_path, 100)
    make(tmp_path, 200)
    harm(make(tmp_path, 300))
    assert newest(tmp_path)["step"] == 200
    assert capsys.readouterr().out == f"checkpoint {tmp_path}/step-00000300: passed over, {reason}\n"


def test_when_all_are_damaged_there_is_none_and_each_has_its_line(tmp_path, capsys):
    for step in (100, 200):
        truncate(make(tmp_path, step))
    assert newest(tmp_path) is None
    assert capsys.readouterr().out.count("passed over") == 2


def test_pruning_keeps_the_newest_and_what_is_being_written(tmp_path):
    for step in (100, 200, 300, 400):
        make(tmp_path, step)
    make(tmp_path, 150, finished=False)
    make(tmp_path, 500, finished=False)
    (tmp_path / "step-notes").mkdir()
    places.prune(places.place(str(tmp_path)), keep=2)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["step-00000300", "step-00000400", "step-00000500", "step-notes"]


def test_pruning_before_the_first_is_complete_deletes_nothing(tmp_path):
    make(tmp_path, 100, finished=False)
    places.prune(places.place(str(tmp_path)), keep=1)
    assert (tmp_path / "step-00000100" / "weights.pt").exists()


def test_the_mark_lists_every_file_and_comes_last(tmp_path):
    path = make(tmp_path, 7)
    facts = json.loads((path / "COMPLETE.json").read_text())
    assert "COMPLETE.json" not in facts["files"]
    assert facts["step"] == 7
    assert all(file.stat().st_mtime_ns <= (path / "COMPLETE.json").stat().st_mtime_ns for file in path.rglob("*.pt"))
