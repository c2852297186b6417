"""MLflow is never in the way of a job, and nothing that was to be logged is lost."""

import os
import signal
import threading
import time

import pytest
import ray
from mlflow import MlflowClient

from spire_ray import cli
from spire_ray.runtime import mailbox, spool, tracker
from spire_ray.runtime.mailbox import Mailbox
from spire_ray.runtime.tracker import Tracker

NOBODY = "http://user:tower-of-babel@127.0.0.1:9"
PASSWORD = "tower-of-babel"
LONGEST = 600.0
"""Seconds: no claim, but the end of a test that fails."""


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a busy machine the client takes a minute to import mlflow; a test that waits for it ends when it has answered."""
    monkeypatch.setattr(tracker, "_PATIENCE", dict.fromkeys(tracker._PATIENCE, LONGEST))


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def run_of(store):
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("spire").experiment_id])
    return client, run


def log_all(tracker):
    tracker.start("key", "name", "", {"lr": 1.0, "uri": NOBODY}, {"tag": NOBODY})
    for step in range(3):
        tracker.log_metrics({"loss": 3.0 - step}, step)
    tracker.log_artifact("notes/a.txt", b"\x00\xff")


def test_calls_wait_for_nobody(ray_session, store, tmp_path):
    tracker = Tracker(store, "spire", str(tmp_path / "out"))
    client = ray.get(tracker._actor.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(client, signal.SIGSTOP)
    calls = threading.Thread(target=log_all, args=[tracker], daemon=True)
    calls.start()
    calls.join(LONGEST)
    assert not calls.is_alive()
    os.kill(client, signal.SIGCONT)
    assert tracker.flush(LONGEST) == "" and run_of(store)[1].data.metrics == {"loss": 1.0}


def test_without_mlflow_a_job_ends_with_one_line_and_all_is_sent_later(ray_session, store, tmp_path, capsys):
    output = str(tmp_path / "out")
    tracker = Tracker(NOBODY, "spire", output)
    log_all(tracker)
    tracker.close("FINISHED")
    ended = int(time.time() * 1000)
    assert tracker.run_id(1.0) == ""
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and f"spire track replay {output}" in told and PASSWORD not in told
    kept = spool.read(output)
    assert [event["kind"] for event in kept] == ["start", "metrics", "metrics", "metrics", "artifact", "end"]
    assert PASSWORD not in (tmp_path / "out" / spool.SPOOL_FILE).read_text()
    time.sleep(0.1)
    assert cli.main(["track", "replay", output, "--to", store]) == 0
    client, run = run_of(store)
    assert (run.info.status, run.info.run_name, run.data.params["lr"]) == ("FINISHED", "name", "1.0")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert max(point.timestamp for point in history) <= ended
    assert [found.path for found in client.list_artifacts(run.info.run_id, "notes")] == ["notes/a.txt"]
    assert cli.main(["track", "replay", output, "--to", store]) == 0
    assert capsys.readouterr().out.endswith("nothing is left to send\n")


def test_a_replay_that_fails_keeps_everything(tmp_path, capsys):
    spool.write(str(tmp_path), [{"kind": "start", "key": "k", "experiment": "e", "at": 1, "name": "", "parent": "",
                                 "parameters": {}, "tags": {}}])  # fmt: skip
    assert cli.main(["track", "replay", str(tmp_path), "--to", "http://127.0.0.1:9"]) == 2
    assert "MLflow does not take it" in capsys.readouterr().err and len(spool.read(str(tmp_path))) == 1


@pytest.mark.parametrize("time_after_time", range(4))  # what is tried again comes in any order
def test_a_client_that_is_killed_comes_back_and_goes_on_with_the_run(time_after_time, ray_session, store, tmp_path, capsys):
    tracker = Tracker(store, "spire", str(tmp_path / "out"))
    tracker.start("key", "name", "", {}, {})
    assert tracker.run_id(LONGEST)
    ray.kill(tracker._actor, no_restart=False)
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.close("FINISHED")
    _, run = run_of(store)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert "warning" not in capsys.readouterr().out and not spool.read(str(tmp_path / "out"))


def test_a_client_that_is_gone_for_ever_costs_a_line_and_loses_nothing(ray_session, store, tmp_path, capsys):
    output = str(tmp_path / "out")
    tracker = Tracker(store, "spire", output)
    tracker.start("key", "name", "", {}, {})
    first = tracker.run_id(LONGEST)
    ray.kill(tracker._actor)
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.close("FINISHED")
    assert "its client has died" in capsys.readouterr().out
    assert cli.main(["track", "replay", output, "--to", store]) == 0
    _, run = run_of(store)
    assert (run.info.run_id, run.info.status, run.data.metrics) == (first, "FINISHED", {"loss": 1.0})


def event(kind, **said):
    return {"kind": kind, "key": "key", "experiment": "spire", "at": 1, **said}


BEGIN = event("start", name="n", parent="", parameters={}, tags={})


def test_what_was_kept_is_sent_in_order_when_mlflow_is_back(store, tmp_path, monkeypatch):
    monkeypatch.setattr(mailbox, "_ASKED_AGAIN", 0.0)
    output = str(tmp_path / "out")
    box = Mailbox("http://127.0.0.1:9")
    assert box.deliver(output, BEGIN) == "" and spool.read(output) == [BEGIN]
    box._uri = store
    assert box.deliver(output, event("metrics", metrics={"x": 1.0}, step=0)) != ""
    assert spool.read(output) == [] and box.settle(output) == ""
    again = Mailbox("http://127.0.0.1:9")  # and a job after it sends what the first has left
    again.deliver(output, event("metrics", metrics={"x": 2.0}, step=1))
    assert again.settle(output)
    last = Mailbox(store)
    last.deliver(output, event("end", status="KILLED"))
    assert run_of(store)[1].info.status == "KILLED" and run_of(store)[1].data.metrics == {"x": 2.0}
    assert spool.read(output) == []


def test_what_mlflow_refuses_does_not_hold_up_the_rest(store, tmp_path):
    output, box = str(tmp_path / "out"), Mailbox(store)
    box.deliver(output, BEGIN)
    bad = event("metrics", metrics={"no/such:name?": 1.0}, step=0)
    box.deliver(output, bad)
    assert box.deliver(output, event("metrics", metrics={"x": 1.0}, step=0)) != ""
    assert box.settle(output) and spool.read(output) == [bad]
