"""The progress line says something new each time, and its time left does not grow while nothing happens."""

import re

import pytest

from spire_ray.core import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def left(line):
    minutes, seconds = re.search(r"ETA (\d+):(\d\d)$", line).groups()
    return 60 * int(minutes) + int(seconds)


def test_a_line_is_told_once_and_the_time_left_is_that_of_the_news(clock, capsys):
    line = progress.Progress("cpt")
    clock[0] += 2
    line.update(1, 100, "step 1")
    clock[0] += 18
    line.update(10, 100, "step 10")
    for _ in range(60):  # the next step takes a minute
        clock[0] += 1
        line.update(10, 100, "step 10")
    clock[0] += 1
    line.update(100, 100, "step 100")
    told = capsys.readouterr().out.splitlines()
    assert [re.search(r"step \d+", one)[0] for one in told] == ["step 1", "step 10", "step 100"]
    assert "ETA" not in told[0]  # one piece of news is no speed
    assert [left(one) for one in told[1:]] == [180, 0]


def test_what_came_within_an_interval_is_told_after_it(clock, capsys):
    line = progress.Progress("cpt")
    clock[0] += 10
    line.update(1, 40, "step 1")
    clock[0] += 1
    line.update(2, 40, "step 2")
    clock[0] += 1
    line.update(3, 40, "step 3")
    clock[0] += 4
    line.update(3, 40, "step 3")
    told = capsys.readouterr().out.splitlines()
    assert [re.search(r"step \d+", one)[0] for one in told] == ["step 1", "step 3"]
    assert left(told[1]) == 37  # a second for each of 37 steps; the start took 10


def test_a_time_left_that_is_known_is_taken(clock, capsys):
    progress.Progress("cpt").update(90, 100, "step 90", left=125.2)  # a training that went on at step 89
    assert left(capsys.readouterr().out.strip()) == 125
