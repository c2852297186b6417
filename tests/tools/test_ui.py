"""MLflow opens at the comparison of the last recipe's models."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import unquote

import pytest

from spire_ray.core import mlflow_store
from spire_ray.tools import ui


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two recipes, of which the later one was run twice."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    client = mlflow_store.client(uri)
    experiment = client.create_experiment("spire")
    made, at = {}, 0
    for recipe, names in (("old", "ab"), ("new", "ab"), ("new", "abc")):
        parent = made.setdefault(recipe, client.create_run(experiment, run_name=recipe, start_time=at).info.run_id)
        for name in names:
            at += 1
            tags = {"mlflow.parentRunId": parent, mlflow_store.COMPARED: "true"}
            run = client.create_run(experiment, start_time=at, tags=tags, run_name=name)
            client.log_metric(run.info.run_id, "model/asr.wer", at)
            made[name] = run.info.run_id
        client.create_run(experiment, start_time=at + 1, tags={"mlflow.parentRunId": parent}, run_name="label")
    return uri, experiment, made


def test_the_newest_run_of_each_model_of_the_newest_recipe_is_compared(store):
    uri, experiment, made = store
    page = unquote(ui.comparison(mlflow_store.client(uri)))
    assert page == f'/#/compare-runs?runs=["{made["a"]}","{made["b"]}","{made["c"]}"]&experiments=["{experiment}"]'


@pytest.mark.long
def test_the_pages_are_served_until_they_are_stopped(store):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "spire_ray", "ui", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(
        command, env=os.environ | {"MLFLOW_TRACKING_URI": store[0]}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith(f"http://127.0.0.1:{port}/#/compare-runs?runs=")
        with urllib.request.urlopen(address, timeout=10) as page:
            assert re.search(r"<title>\s*MLflow", page.read().decode())
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={store[2]['c']}", headers={"Accept": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert json.load(answer)["run"]["info"]["run_name"] == "c"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0


def test_a_port_that_is_taken_is_refused(store, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert ui.main(["--no-browser", "--port", str(other.getsockname()[1])]) == 2
    assert "something else listens there" in capsys.readouterr().err
