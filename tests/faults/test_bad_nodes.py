"""A node without a mount, and a shard that kills whoever labels it: nothing is lost, and both are named."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from spire_ray.shards import marks
from spire_ray.tools._audit_units import audit_folder
from tests.faults.short_job import NAMESPACE, ROWS, SHARDS, label, requires_namespace, seen

pytestmark = pytest.mark.long


@pytest.fixture
def cluster():
    """A head without CPUs, two nodes, and room for one in a mount namespace of its own."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=2, object_store_memory=128 << 20)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def blind_node(cluster, short_corpus):
    """A third node, which sees an empty folder where the audio is."""
    requires_namespace("-m")
    ray = f"{os.path.dirname(sys.executable)}/ray"
    start = f"{ray} start --address={cluster.address} --num-cpus=2 --object-store-memory={128 << 20} --block"
    command = [*NAMESPACE, "-m", "sh", "-c", f"mount -t tmpfs none {short_corpus}/wav && exec {start}"]
    node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while seen(cluster.address, "ray.cluster_resources()").get("CPU", 0) < 6:
        assert node.poll() is None and time.monotonic() < deadline
    yield node
    for process in [*psutil.Process(node.pid).children(recursive=True), node]:
        process.kill()


@pytest.mark.parametrize("decode", ["tasks", "actors"])
def test_a_node_without_the_audio_is_left_out_and_costs_no_row(short_corpus, cluster, blind_node, decode):
    began = time.monotonic()
    status, said, errors = label(short_corpus, f"decode={decode}", "shard_seconds=0.5", RAY_ADDRESS=cluster.address)
    print(f"{time.monotonic() - began:.0f} s")
    assert status == 0, errors
    told = [line for line in said.splitlines() if "is left out" in line]
    assert all("no such file" in line for line in told)
    assert len(told) == 1 or decode == "actors"  # whose proof takes 5 s: the others may have done all by then
    found = audit_folder(f"{short_corpus}/units")
    assert (found.labelled, found.faults, found.rejected) == (ROWS, 0, {})


def test_a_shard_that_kills_its_workers_is_set_aside_after_three_and_all_else_is_labelled(short_corpus):
    began = time.monotonic()
    status, _, errors = label(short_corpus, "workers=2", SPIRE_TEST_FATAL="7")
    print(f"{time.monotonic() - began:.0f} s")
    assert status == 2
    assert "1 of 40 shards are set aside: shard 7, rows 42 to 47 of " in errors and "3 workers died over it, on " in errors
    assert marks.done(f"{short_corpus}/units") == set(range(SHARDS)) - {7}
    assert label(short_corpus, "workers=2")[0] == 0
    assert audit_folder(f"{short_corpus}/units").labelled == ROWS
