"""The stage cpt on Ray Train: whatever is killed, the training ends with the losses and the ledger of an undisturbed one."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from spire_ray.stages._train import read_metrics
from spire_ray.training.checkpoints import ledger

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY, LONGEST = 240, 40, 600
ROOM = 8 << 30
"""Bytes that a training of this size and its cluster never need."""
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fresh_model, tiny_pack):
    folder = tmp_path_factory.mktemp("ray")
    (folder / "zero1.json").write_text(json.dumps({"zero_optimization": {"stage": 1}, "bf16": {"enabled": False}}))
    settings = {
        "stage": "cpt",
        "output": "{root}/train",
        "model": fresh_model,
        "pack": tiny_pack,
        "deepspeed": str(folder / "zero1.json"),
        "workers": 2,
        "training": {"steps": STEPS, "global_batch_size": 4, "save_every": SAVE_EVERY, "log_every": 1, "optimizer": {"lr": 1e-3}},
        "tracking": {"enabled": False},
    }
    (folder / "cpt.yaml").write_text(yaml.safe_dump(settings))
    return folder


class Training:
    """The stage as a process of its own, whose words go to a log."""

    def __init__(self, folder, name, root="", overrides=(), **environment):
        self.root, self.log = root or str(folder / name), folder / f"{name}.log"
        self._command = [sys.executable, "jobs/cpt.py", "--config", str(folder / "cpt.yaml"), f"root={self.root}", *overrides]
        self._environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        self._environment |= {"PYTHONPATH": str(ROOT), **environment}

    def start(self):
        with self.log.open("a") as log:
            options = {"stdout": log, "stderr": log, "start_new_session": True}
            self.job = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, **options)
        return self

    def metrics(self):
        return read_metrics(f"{self.root}/train")

    def reach(self, step):
        """Wait until a step is logged."""
        deadline = time.monotonic() + LONGEST
        while len(self.metrics()) < step:
            assert self.job.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def processes(self, name):
        found = psutil.process_iter(["pid", "cmdline"])  # of one that has just ended the command line is None
        below = {child.pid for child in psutil.Process(self.job.pid).children(recursive=True)}
        return [process for process in found if process.pid in below and name in " ".join(process.info["cmdline"] or ())]

    def losses(self):
        """Of each step, once the job has ended well."""
        assert self.job.wait(LONGEST) == 0, self.log.read_text()[-3000:]
        return {line["step"]: line["loss"] for line in self.metrics()}

    def refusal(self):
        """The one line that it ends with where the user has to do something."""
        assert self.job.wait(LONGEST) == 2, self.log.read_text()[-3000:]
        (told,) = [line for line in self.log.read_text().splitlines() if line.startswith("cpt: error: ")]
        return told

    def check(self, undisturbed):
        assert self.losses() == undisturbed.losses()
        book = ledger.read(f"{self.root}/train")
        assert list(book) == list(range(1, STEPS + 1))
        assert book == ledger.read(f"{undisturbed.root}/train")


@pytest.fixture(scope="module")
def undisturbed(folder):
    training = Training(folder, "undisturbed").start()
    training.losses()
    return training


def test_a_killed_worker_is_replaced_and_leaves_no_trace(folder, undisturbed):
    training = Training(folder, "worker").start()
    training.reach(SAVE_EVERY + 10)
    training.processes("RayTrainWorker")[0].kill()
    training.check(undisturbed)


def test_a_worker_that_hangs_is_given_up_after_collective_minutes_and_leaves_no_trace(folder, undisturbed):
    training = Training(folder, "hung", overrides=["collective_minutes=0.2"]).start()
    training.reach(SAVE_EVERY + 10)
    began = time.monotonic()
    training.processes("RayTrainWorker")[0].suspend()
    training.check(undisturbed)
    print(f"{time.monotonic() - began:.0f} s to the end")


@pytest.fixture
def cluster():
    """A head without CPUs, and two nodes with room for both workers."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=3, object_store_memory=128 << 20)
    yield cluster
    cluster.shutdown()


def test_the_workers_of_a_lost_node_are_replaced_on_another_and_leave_no_trace(folder, undisturbed, cluster, tmp_path_factory):
    shared = f"storage.shared_root={tmp_path_factory.getbasetemp()}"
    training = Training(folder, "node", overrides=[shared], RAY_ADDRESS=cluster.address).start()
    training.reach(SAVE_EVERY + 10)
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    workers = [process for process in psutil.process_iter(["cmdline", "ppid"]) if process.info["ppid"] in raylets]
    [one, *_] = [process for process in workers if "RayTrainWorker" in " ".join(process.info["cmdline"] or ())]
    cluster.remove_node(raylets[one.info["ppid"]], allow_graceful=False)
    training.check(undisturbed)


@pytest.mark.parametrize("victim", ["driver", "gcs_server"])
def test_after_the_death_of_driver_or_head_the_same_command_goes_on(folder, undisturbed, victim):
    training = Training(folder, victim).start()
    training.reach(SAVE_EVERY + 10)
    family = psutil.Process(training.job.pid).children(recursive=True)
    if victim == "driver":
        training.job.kill()
    else:
        for process in training.processes(victim):
            process.kill()
        time.sleep(2)
        os.killpg(training.job.pid, signal.SIGKILL)  # what is left of a driver without its head
    training.job.wait(LONGEST)
    for process in family:
        if process.is_running():
            process.kill()
    assert SAVE_EVERY < len(training.metrics()) < STEPS
    training.start().check(undisturbed)


def test_a_finished_training_goes_on_with_more_steps_as_if_it_had_never_ended(folder):
    rate = ("training.optimizer.schedule=constant", "training.optimizer.warmup_steps=10")

    def of(steps, name):
        return Training(folder, name, overrides=(*rate, f"training.steps={steps}"))

    whole, short = of(STEPS // 2, "whole").start(), of(SAVE_EVERY + 10, "longer")
    expected, first = whole.losses(), short.start().losses()  # one after the other: each takes both cores
    assert list(first) == list(range(1, SAVE_EVERY + 11))
    again = of(SAVE_EVERY + 10, "longer").start().losses()
    assert again == first and "done already" in short.log.read_text()
    longer = of(STEPS // 2, "longer").start()
    assert longer.losses() == expected
    assert ledger.read(f"{longer.root}/train") == ledger.read(f"{whole.root}/train")
    assert "was made with other config" in of(SAVE_EVERY, "longer").start().refusal()  # and never back


def test_workers_that_fail_again_and_again_end_with_one_line_and_a_training_that_can_go_on(folder, undisturbed):
    training = Training(folder, "failing").start()
    training.reach(SAVE_EVERY + 5)
    deadline = time.monotonic() + LONGEST
    while training.job.poll() is None and time.monotonic() < deadline:
        for process in training.processes("RayTrainWorker"):
            process.kill()
        time.sleep(0.5)
    told = training.refusal()
    assert told.startswith(f"cpt: error: output={training.root}/train: the workers failed 4 times; the last failure: ")
    assert told.endswith("run it again to go on from the newest checkpoint (SPIRE_TRACEBACK=1 tells more)")
    training.start().check(undisturbed)


def test_a_full_disk_ends_with_one_line_and_a_training_that_can_go_on(folder, undisturbed):
    training = Training(folder, "full").start()
    training.reach(SAVE_EVERY + 5)
    checkpoint = Path(training.root, "train", f"step-{2 * SAVE_EVERY:08d}")
    checkpoint.mkdir()
    (checkpoint / "mp_rank_00_model_states.pt").symlink_to("/dev/full")
    told = training.refusal()
    assert f"the checkpoint of step {2 * SAVE_EVERY} could not be written to {training.root}/train, where " in told
    assert " GB are free" in told
    shutil.rmtree(checkpoint)
    training.start().check(undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)]).returncode:
        pytest.skip("a file system of its own needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_file_system_without_room_ends_with_one_line_and_keeps_the_last_checkpoint(folder, undisturbed, small_disk):
    training = Training(folder, "room", str(small_disk)).start()
    training.reach(SAVE_EVERY + 5)
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    told = training.refusal()
    assert "No space left on device" in told or " GB are free" in told  # of the metrics of a step, or of a checkpoint
    assert "Traceback" not in training.log.read_text()
    assert list(ledger.read(f"{training.root}/train"))[:SAVE_EVERY] == list(range(1, SAVE_EVERY + 1))
    (small_disk / "ballast").unlink()
    training.start().check(undisturbed)


def test_a_vanished_bucket_ends_with_one_line_and_a_training_that_can_go_on(folder, undisturbed, s3):
    server, _ = s3
    training = Training(folder, "bucket", "s3://spire/bucket", SPIRE_CACHE=str(folder / "cache")).start()
    training.reach(SAVE_EVERY + 5)
    server.gone = True
    told = training.refusal()
    assert "Traceback" not in training.log.read_text()
    assert "bucket" in told and told.endswith("go on from the newest checkpoint (SPIRE_TRACEBACK=1 tells more)")
    server.gone = False
    assert len(training.metrics()) > SAVE_EVERY
    training.start().check(undisturbed)


def test_a_node_out_of_memory_ends_with_one_line_and_a_training_that_can_go_on(folder, undisturbed):
    memory = psutil.virtual_memory()
    limit = memory.total - memory.available + ROOM
    environment = {"RAY_memory_usage_threshold": str(limit / memory.total)}
    training = Training(folder, "memory", **environment).start()
    training.reach(SAVE_EVERY + 5)
    for worker in training.processes("RayTrainWorker"):
        worker.suspend()  # it would be done before the memory is taken
    memory = psutil.virtual_memory()
    greedy = np.ones(limit - (memory.total - memory.available) + (1 << 30), np.uint8)  # of another user of the node
    time.sleep(2)
    for worker in training.processes("RayTrainWorker"):
        worker.resume()
    told = training.refusal()
    del greedy
    assert "low on memory" in told and "run it again to go on from the newest checkpoint" in told
    assert len(told) < 500 and "Traceback" not in training.log.read_text()
    training.start().check(undisturbed)
