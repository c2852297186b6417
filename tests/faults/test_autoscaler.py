"""A cluster that begins without workers, with the node types of the chart: it grows with the work, and shrinks after it."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time

import psutil
import pytest

from spire_ray.recipes import manifests, runner
from spire_ray.tools._audit_units import audit_folder
from tests.faults.short_job import ROWS, seen, start, waited
from tests.helm_chart import HELM, of_kind, rendered, spec_of

pytestmark = [pytest.mark.long, pytest.mark.skipif(not HELM, reason="`make .helm/helm` brings Helm")]
HEAD = "ray.head.default"
"""As Ray's provider of nodes that are processes calls it."""
PROVIDER = {
    "type": "fake_multinode",
    "use_node_id_as_ip": True,
    "disable_node_updaters": True,
    "disable_launch_config_check": True,
}
"""Its nodes share an address, and nothing is installed on them."""
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
CPUS, IDLE = 2, 15
"""CPUs of a node here, where the chart has 14, and seconds after which one without work goes, where KubeRay has 60."""


def node_types(job):
    """The worker groups of a rendered RayJob as KubeRay tells them to Ray's autoscaler, their CPUs cut to this machine."""
    found = {}
    for group in spec_of(job)["workerGroupSpecs"]:
        said = group["rayStartParams"]
        own = json.loads(json.loads(said["resources"])) if "resources" in said else {}
        found[group["groupName"]] = {
            "resources": {"CPU": int(said["num-cpus"]) if "num-cpus" in said else CPUS, **own},
            "node_config": {},
            "min_workers": group["minReplicas"],
            "max_workers": min(group["maxReplicas"], 2),
        }
    return found


def autoscaling(job, address):
    """The configuration of an autoscaler whose nodes are processes of this machine."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    settings = {"cluster_name": "drill", "max_workers": 8, "upscaling_speed": 1.0, "idle_timeout_minutes": IDLE / 60}
    settings |= {"provider": PROVIDER | {"gcs_address": address}, "auth": {}, "head_node_type": HEAD}
    settings |= {"available_node_types": node_types(job) | {HEAD: head}, "file_mounts": {}, "cluster_synced_files": []}
    return settings | {"file_mounts_sync_continuously": False} | {f"{name}_commands": [] for name in COMMANDS}


def labelling_job(folder):
    """The RayJob of the chart for a recipe that labels."""
    step = {"stage": "label", "output": "{root}/units", "manifest": "{root}/m.jsonl", "codebook": "{root}/codebook"}
    recipe = {"stage": "run", "title": "t", "root": str(folder), "steps": [{"name": "label", "settings": step}]}
    values = folder / "values.yaml"
    values.write_text(manifests.written(manifests.values(runner.load(json.dumps(recipe), []))))
    [job] = of_kind(rendered(values, "--set", "only=all"), "RayJob").values()
    return job


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(short_corpus, monkeypatch):
    """(RAY_ADDRESS, number of nodes) of a cluster with the groups of a job that labels."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    address, folder = f"127.0.0.1:{free_port()}", tempfile.mkdtemp(prefix="ray", dir="/tmp")  # Unix socket paths are short
    (short_corpus / "autoscaler.json").write_text(json.dumps(autoscaling(labelling_job(short_corpus), address)))
    command = [f"{os.path.dirname(sys.executable)}/ray", "start", "--head", "--block", "--num-cpus", "0"]
    command += ["--node-ip-address", "127.0.0.1", "--port", address.partition(":")[2], "--temp-dir", folder]
    command += ["--include-dashboard", "false", "--autoscaling-config", f"{short_corpus}/autoscaler.json"]
    known = os.environ | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    log = short_corpus / "head.log"
    with log.open("w") as file:
        head = psutil.Popen(command, env=known, stdout=file, stderr=file)
    family = {}

    def nodes():
        family.update({each.pid: each for each in head.children(recursive=True)})
        return seen(address, "sum(node['Alive'] for node in ray.nodes())")

    try:
        assert waited(lambda: "Ray runtime started" in log.read_text(), 300), log.read_text()
        yield address, nodes
    finally:
        for process in [*head.children(recursive=True), *family.values(), head]:
            if process.is_running():
                process.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_it_grows_with_the_work_loses_nothing_and_shrinks_after_it(cluster, short_corpus):
    address, nodes = cluster
    assert waited(lambda: nodes() == 2, 120)  # the head, and the driver's pod that is always there
    began = time.monotonic()
    job = start(short_corpus, "workers=2", RAY_ADDRESS=address)
    assert waited(lambda: nodes() >= 3 or job.poll() is not None, 180)
    assert job.poll() is None, job.communicate()
    grown = time.monotonic()
    said, errors = job.communicate(timeout=400)
    ended = time.monotonic()
    assert job.returncode == 0, errors
    assert "waiting for the cluster to grow" in said
    found = audit_folder(f"{short_corpus}/units")
    assert (found.labelled, found.faults, found.waiting) == (ROWS, 0, 0)
    assert waited(lambda: nodes() == 2, 180)
    shrunk = time.monotonic()
    print(f"first worker after {grown - began:.0f} s, job {ended - began:.0f} s, empty {shrunk - ended:.0f} s later")
