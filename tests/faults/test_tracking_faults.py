"""MLflow away, its client killed, a job stopped: the job ends as it would have, and the run says what happened."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import soundfile
from mlflow import MlflowClient

from spire_ray.runtime import spool
from spire_ray.shards import marks
from tests.faults.short_job import ROOT, seen, waited

pytestmark = pytest.mark.long
SHARDS = 400


@pytest.fixture
def job(tmp_path, tiny_codebook):
    """A function that starts a label job of 400 shards with a tracking store."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(16_000 * 20) / 8, 16_000)
    rows = [{"utt_id": f"u{n}", "audio_filepath": "a.wav", "duration": 20.0} for n in range(2 * SHARDS)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_codebook.save(str(tmp_path / "codebook"))
    fields = {"stage": "label", "manifest": f"{tmp_path}/m.jsonl", "codebook": f"{tmp_path}/codebook"}
    (tmp_path / "label.json").write_text(json.dumps(fields | {"output": f"{tmp_path}/units", "shard_seconds": 40.0}))

    def start(store, name="units"):
        known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        known |= {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store}
        command = [sys.executable, "jobs/label.py", "--config", f"{tmp_path}/label.json", f"output={tmp_path}/{name}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=known, **pipes)

    return start


def wait_for(process, output, shards):
    while len(marks.done(output)) < shards:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path):
    """A store whose tables are there: a client killed while it makes them would leave half of them."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowClient(uri).search_experiments()
    return uri


def run_of(store):
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("spire").experiment_id])
    return run


def test_without_mlflow_a_job_takes_as_long_as_without_tracking(job, store, tmp_path):
    seconds = {}
    for name, uri in (("sqlite", store), ("none", "http://127.0.0.1:9")):
        began = time.monotonic()
        process = job(uri, name)
        said, errors = process.communicate(timeout=300)
        seconds[name] = time.monotonic() - began
        assert process.returncode == 0, errors
        assert ("MLflow has not taken everything" in said) == (name == "none") and "Traceback" not in errors
    print({name: round(took) for name, took in seconds.items()})
    assert seconds["none"] < seconds["sqlite"] + 15
    assert [event["kind"] for event in spool.read(f"{tmp_path}/none")][:2] == ["start", "artifact"]


def test_the_death_of_its_client_is_not_that_of_the_job(job, store, tmp_path):
    process = job(store)
    wait_for(process, f"{tmp_path}/units", 8)
    found = psutil.Process(process.pid).children(recursive=True)
    (client,) = [child for child in found if "Mailbox" in " ".join(child.cmdline())]
    client.kill()
    assert process.wait(300) == 0, process.communicate()
    assert run_of(store).info.status == "FINISHED" and run_of(store).data.metrics["labelled"] == 2 * SHARDS


def test_a_job_that_is_stopped_is_recorded_as_killed_and_gives_its_folder_back(job, store, tmp_path):
    process = job(store)
    wait_for(process, f"{tmp_path}/units", 20)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    print(f"stopped in {time.monotonic() - began:.1f} s")
    assert process.returncode != 0 and run_of(store).info.status == "KILLED"
    assert not list((tmp_path / "units").glob("_lock*"))
    assert job(store).wait(300) == 0
    assert run_of(store).info.status == "FINISHED"


def test_the_client_of_a_recipe_lives_on_the_node_of_its_driver_and_ends_with_it(store):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    named = "[each['name'] for each in ray.util.list_named_actors(all_namespaces=True)]"
    program = (
        "import ray\nfrom spire_ray.runtime import cluster, nodes, tracker\n"
        f"cluster.connect(); name = tracker.share({store!r})\n"
        "place = lambda _: ray.get_runtime_context().get_node_id()\n"
        "there = ray.get(ray.get_actor(name, 'spire').__ray_call__.remote(place))\n"
        f"print(there == nodes.here(), name in {named})"
    )
    try:
        cluster.add_node(num_cpus=4, object_store_memory=128 << 20)
        known = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=known, capture_output=True, text=True, timeout=200)
        assert done.stdout.split() == ["True", "True"], done.stderr
        assert waited(lambda: seen(cluster.address, named) == [], 60)
    finally:
        cluster.shutdown()
