"""Whatever dies under a label job, it ends, after a rerun where needed, in the bytes of an undisturbed run, and no more than one
shard for each worker is labelled twice."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from spire_ray.core import storage
from spire_ray.shards import marks
from spire_ray.tools._audit_units import audit_folder

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SHARDS, WORKERS = 60, 2
STORE_BYTES = 80 << 20
"""About the smallest object store that Ray starts with."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_codebook):
    """60 shards of two clips of noise, and a codebook."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    rows = []
    for number in range(2 * SHARDS):
        soundfile.write(folder / f"{number}.flac", draw.standard_normal(16_000 * 20) / 8, 16_000)
        rows.append({"utt_id": f"u{number}", "audio_filepath": f"{number}.flac", "duration": 20.0})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    many = [{**rows[n % len(rows)], "utt_id": f"v{n}"} for n in range(16 * SHARDS)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, many)))
    tiny_codebook.save(str(folder / "codebook"))
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus):
    """Part files of a run that nothing happened to, and that decoded in its actors."""
    assert job(corpus, corpus / "undisturbed", "decode=actors").wait() == 0
    return parts(corpus / "undisturbed")


def job(corpus, output, *settings, address="", full_from=math.inf, **options):
    """The stage as a process of its own."""
    config = corpus / f"{output.name}.yaml"
    fields = {"stage": "label", "manifest": f"{corpus}/m.jsonl", "codebook": f"{corpus}/codebook", "output": str(output)}
    fields |= {"shard_seconds": 40.0, "workers": WORKERS, "decode": "tasks", "tracking": {"enabled": False}}
    fields |= {"storage": {"shared_root": str(output.parent)}}
    config.write_text(json.dumps(fields))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"SPIRE_TEST_NOTES": str(notes(corpus, output)), "SPIRE_TEST_FULL_FROM": str(full_from)} | (
        {"RAY_ADDRESS": address} if address else {}
    )
    command = [sys.executable, "tests/faults/noted_label.py", "--config", str(config), *settings]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


def parts(output):
    return {name: storage.read_bytes(f"{output}/{name}") for name in storage.listing(str(output)) if name.startswith("part-")}


def done(output):
    folder = output / "_done"
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix == ".json"} if folder.exists() else {}


def wait_for_half(process, output):
    while len(done(output)) < SHARDS // 2:
        assert process.poll() is None, "the job ended before it could be disturbed"
        time.sleep(0.02)


def notes(corpus, output):
    return corpus / f"{output.name}.notes"


def times(corpus, output, what):
    """Shard → how often it was decoded, begun or done in all runs."""
    lines = map(str.split, notes(corpus, output).read_text().splitlines())
    return Counter(int(shard) for noted, shard in lines if noted == what)


def check(corpus, output, undisturbed, rows=2 * SHARDS, again=WORKERS):
    assert parts(output) == undisturbed
    account = audit_folder(str(output))
    assert (account.planned_rows, account.labelled, account.faults, account.waiting) == (rows, rows, 0, 0)
    begun = times(corpus, output, "begun")
    assert set(begun) == set(range(len(undisturbed)))
    repeated = sorted(shard for shard, count in begun.items() if count > 1)
    decoded = sum(count > 1 for count in times(corpus, output, "decoded").values())
    print(f"labelled twice: {repeated}; decoded twice: {decoded} of {len(begun)} shards")
    assert len(repeated) <= again and max(begun.values()) <= 2


def test_a_killed_driver(corpus, undisturbed):
    output = corpus / "driver"
    first = job(corpus, output)
    wait_for_half(first, output)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = done(output)
    time.sleep(5)  # the workers of the dead driver end
    assert len(done(output)) <= len(before) + WORKERS
    second = job(corpus, output)
    assert second.wait() == 0
    after = done(output)
    assert all(after[name] == stamp for name, stamp in before.items())  # nothing that was marked is done again
    check(corpus, output, undisturbed)


@pytest.mark.parametrize("decode", ["tasks", "actors"])
def test_a_killed_actor(corpus, undisturbed, decode):
    output = corpus / f"actor {decode}"
    process = job(corpus, output, f"decode={decode}")
    wait_for_half(process, output)
    actors = [
        child for child in psutil.Process(process.pid).children(recursive=True) if "LabelShard" in " ".join(child.cmdline())
    ]
    assert actors
    actors[0].kill()
    assert process.wait() == 0
    check(corpus, output, undisturbed)


@pytest.fixture
def cluster():
    """A head with nothing to compute on, a node, and a second one with a small object store."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_a_killed_worker_node(corpus, undisturbed, cluster):
    output = corpus / "node"
    cluster.add_node(num_cpus=3, object_store_memory=256 << 20)
    lost = cluster.add_node(num_cpus=3, object_store_memory=256 << 20)
    process = job(corpus, output, address=cluster.address)
    wait_for_half(process, output)
    cluster.remove_node(lost, allow_graceful=False)
    if process.wait() != 0:
        assert job(corpus, output, address=cluster.address).wait() == 0
    check(corpus, output, undisturbed)


def test_an_object_store_far_smaller_than_the_audio(corpus, cluster):
    large = [f"manifest={corpus}/many.jsonl", "shard_seconds=640"]
    assert job(corpus, corpus / "room", *large).wait() == 0
    total = marks.total(marks.read(str(corpus / "room")))
    assert total.audio_seconds * 2 * 16_000 > 7 * STORE_BYTES
    output = corpus / "store"
    cluster.add_node(num_cpus=4, object_store_memory=STORE_BYTES)
    assert job(corpus, output, *large, address=cluster.address).wait() == 0
    check(corpus, output, parts(corpus / "room"), total.rows)
    assert max(times(corpus, output, "begun").values()) == 1


def test_a_full_disk_stops_with_one_line_and_is_gone_on_from(corpus, undisturbed):
    output = corpus / "disk"
    first = job(corpus, output, full_from=SHARDS // 2, stderr=subprocess.PIPE, text=True)
    _, told = first.communicate()
    errors = [line for line in told.splitlines() if "error" in line]
    assert first.returncode != 0
    assert len(errors) == 1 and "No space left on device" in errors[0] and len(errors[0]) < 300, told
    assert 0 < len(done(output)) <= SHARDS // 2
    assert job(corpus, output).wait() == 0
    check(corpus, output, undisturbed, again=2 * WORKERS)  # a worker may meet the full disk twice before the job ends


def test_one_bad_file_in_each_of_200_shards_costs_those_rows(tmp_path, tiny_codebook):
    tiny_codebook.save(str(tmp_path / "codebook"))
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).standard_normal(16_000 * 8) / 8, 16_000)
    (tmp_path / "bad.wav").write_text("not audio")
    rows = [{"utt_id": f"u{n}", "audio_filepath": "bad.wav" if n % 5 == 3 else "good.wav", "duration": 8.0} for n in range(1000)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert job(tmp_path, tmp_path / "units").wait() == 0
    total = marks.total(marks.read(str(tmp_path / "units")))
    assert len(done(tmp_path / "units")) == 200
    assert (total.rows, total.rejected) == (1000, {"not readable as audio": 200})
    assert audit_folder(str(tmp_path / "units")).faults == 0
