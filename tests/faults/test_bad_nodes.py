"""A node without a mount, and a shard that kills whoever labels it: nothing is lost, and both are named."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import soundfile

from spire_ray.shards import marks
from spire_ray.tools._audit_units import audit_folder
from tests.faults.test_label_faults import ROOT

pytestmark = pytest.mark.long
ROWS = 240


@pytest.fixture
def corpus(tmp_path, tiny_codebook):
    """40 shards of six short clips."""
    (tmp_path / "wav").mkdir()
    for number in range(6):
        soundfile.write(tmp_path / "wav" / f"{number}.wav", np.random.default_rng(number).standard_normal(8_000) / 8, 16_000)
    rows = [{"utt_id": f"u{n}", "audio_filepath": f"wav/{n % 6}.wav", "duration": 0.5} for n in range(ROWS)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_codebook.save(str(tmp_path / "codebook"))
    return tmp_path


def label(folder, *settings, **environment):
    """The stage as a process: its status, and what it said."""
    fields = {"stage": "label", "manifest": f"{folder}/m.jsonl", "codebook": f"{folder}/codebook", "output": f"{folder}/units"}
    fields |= {"shard_seconds": 3.0, "workers": 5, "tracking": {"enabled": False}, "storage": {"shared_root": str(folder)}}
    (folder / "label.json").write_text(json.dumps(fields))
    command = [sys.executable, "tests/faults/noted_label.py", "--config", f"{folder}/label.json", *settings]
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    known |= {"SPIRE_TEST_NOTES": f"{folder}/notes", "SPIRE_TEST_FULL_FROM": "inf", **environment}
    ended = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=400)
    return ended.returncode, ended.stdout, ended.stderr


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
def blind_node(cluster, corpus):
    """A third node, which sees an empty folder where the audio is."""
    apart = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "-m"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("this machine gives its users no mount namespace")
    ray = f"{os.path.dirname(sys.executable)}/ray"
    start = f"{ray} start --address={cluster.address} --num-cpus=2 --object-store-memory={128 << 20} --block"
    command = [*apart, "sh", "-c", f"mount -t tmpfs none {corpus}/wav && exec {start}"]
    node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    import ray as client

    with client.init(address=cluster.address, log_to_driver=False):
        deadline = time.monotonic() + 120
        while client.cluster_resources().get("CPU", 0) < 6:
            assert node.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    yield node
    for process in [*psutil.Process(node.pid).children(recursive=True), node]:
        process.kill()


@pytest.mark.parametrize("decode", ["tasks", "actors"])
def test_a_node_without_the_audio_is_left_out_and_costs_no_row(corpus, cluster, blind_node, decode):
    began = time.monotonic()
    status, said, errors = label(corpus, f"decode={decode}", RAY_ADDRESS=cluster.address)
    print(f"{time.monotonic() - began:.0f} s")
    assert status == 0, errors
    told = [line for line in said.splitlines() if "is left out" in line]
    assert all("no such file" in line for line in told)
    assert len(told) == 1 or decode == "actors"  # whose proof takes 5 s: the others may have done all by then
    found = audit_folder(f"{corpus}/units")
    assert (found.labelled, found.faults, found.rejected) == (ROWS, 0, {})


def test_a_shard_that_kills_its_workers_is_set_aside_after_three_and_all_else_is_labelled(corpus):
    began = time.monotonic()
    status, _, errors = label(corpus, "workers=2", SPIRE_TEST_FATAL="7")
    print(f"{time.monotonic() - began:.0f} s")
    assert status == 2
    assert "1 of 40 shards are set aside: shard 7, rows 42 to 47 of " in errors and "3 workers died over it, on " in errors
    assert marks.done(f"{corpus}/units") == set(range(40)) - {7}
    assert label(corpus, "workers=2")[0] == 0
    assert audit_folder(f"{corpus}/units").labelled == ROWS
