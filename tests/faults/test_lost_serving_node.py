"""A node with a replica of the service is lost under load: the other replica answers, and a new node brings the second back."""

import json
import os
import subprocess
import sys
import time

import pytest

from spire_ray.core import config
from spire_ray.settings import ServeSettings
from tests.faults.short_job import ROOT, seen, waited
from tests.faults.test_serving_faults import CLIENTS, Load
from tests.serving.conftest import NEW_TOKENS, free_port

pytestmark = pytest.mark.long
PLACES = (
    "[(each['name'], ray.get(ray.get_actor(**each).__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())))"
    " for each in ray.util.list_named_actors(all_namespaces=True) if '#Model#' in each['name'] or '#Ingress#' in each['name']]"
)
"""Where the parts of the service are."""


@pytest.fixture
def cluster():
    """A head and two nodes, of one CPU each: no two replicas have room on one of them."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def service(cluster, tiny_model, tmp_path):
    """The address of two replicas, which a process of its own has started."""
    settings = ServeSettings(model=tiny_model, output=str(tmp_path / "out"), port=free_port(), max_new_tokens=NEW_TOKENS)
    told = {**config.to_dict(settings), "replicas": 2, "max_replicas": 2, "keep": True, "tracking": {"enabled": False}}
    known = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "spire_ray", "serve", "--config", json.dumps(told)]
    process = subprocess.Popen(command, cwd=ROOT, env=known, stdout=subprocess.PIPE, text=True)
    assert any("until Ctrl-C" in line for line in process.stdout)
    yield f"http://127.0.0.1:{settings.port}"
    process.terminate()
    process.wait(120)


def test_the_other_replica_answers_what_a_lost_node_was_asked(cluster, service):
    places = seen(cluster.address, PLACES)
    of_models, of_ingress = ({node for name, node in places if part in name} for part in ("#Model#", "#Ingress#"))
    assert len(of_models) == 2
    [lost, *_] = [node for node in cluster.worker_nodes if node.node_id in of_models - of_ingress]
    with Load(service) as load:
        before = load.answered
        cluster.remove_node(lost, allow_graceful=False)
        load.until(10 * CLIENTS)
        cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
        began = time.monotonic()
        assert waited(lambda: len({node for name, node in seen(cluster.address, PLACES) if "#Model#" in name}) == 2, 180)
        print(f"the second replica is back {time.monotonic() - began:.0f} s after its node")
        load.until(2 * CLIENTS)
    print(f"{before} requests answered before, {load.answered - before} after; attempts: {dict(load.attempts)}")
    # a client that spoke to the proxy of the lost node has to ask again
    assert load.lost == 0 and set(load.failures) <= {"connection"} and load.attempts["connection"] <= CLIENTS
    assert load.texts.most_common(1)[0][1] >= 0.9 * load.answered
