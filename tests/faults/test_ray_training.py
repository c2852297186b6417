"""The stage cpt on Ray Train: whatever is killed, the training ends with the losses and the ledger of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from spire_ray.training import ledger

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY, LONGEST = 240, 40, 600
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
        "workers": {"count": 2},
        "training": {"steps": STEPS, "batch_rows": 4, "save_every": SAVE_EVERY, "log_every": 1, "optimiser": {"lr": 1e-3}},
        "tracking": {"enabled": False},
    }
    (folder / "cpt.yaml").write_text(yaml.safe_dump(settings))
    return folder


def start(folder, root):
    command = [sys.executable, "jobs/cpt.py", "--config", str(folder / "cpt.yaml"), f"root={root}"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": str(ROOT)}
    log = (root.parent / f"{root.name}.log").open("a")
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def reached(root, step, job):
    """Wait until a training has logged a step."""
    path, deadline = root / "train" / "metrics.jsonl", time.monotonic() + LONGEST
    while not path.exists() or len(path.read_text().splitlines()) < step:
        assert job.poll() is None and time.monotonic() < deadline, (root.parent / f"{root.name}.log").read_text()[-3000:]
        time.sleep(0.02)


def processes(job, name):
    found = psutil.process_iter(["pid", "cmdline"])  # of one that has just ended the command line is None
    below = {child.pid for child in psutil.Process(job.pid).children(recursive=True)}
    return [process for process in found if process.pid in below and name in " ".join(process.info["cmdline"] or ())]


def ended(job, root):
    status = job.wait(LONGEST)
    assert status == 0, (root.parent / f"{root.name}.log").read_text()[-3000:]
    lines = [json.loads(line) for line in (root / "train" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


@pytest.fixture(scope="module")
def undisturbed(folder):
    root = folder / "undisturbed"
    return root, ended(start(folder, root), root)


def check(root, losses, undisturbed):
    assert losses == undisturbed[1]
    book = ledger.read(str(root / "train"))
    assert list(book) == list(range(1, STEPS + 1))
    assert book == ledger.read(str(undisturbed[0] / "train"))


def test_a_killed_worker_is_replaced_and_leaves_no_trace(folder, undisturbed):
    root = folder / "worker"
    job = start(folder, root)
    reached(root, SAVE_EVERY + 10, job)
    processes(job, "RayTrainWorker")[0].kill()
    check(root, ended(job, root), undisturbed)


@pytest.mark.parametrize("victim", ["driver", "gcs_server"])
def test_after_the_death_of_driver_or_head_the_same_command_goes_on(folder, undisturbed, victim):
    root = folder / victim
    job = start(folder, root)
    reached(root, SAVE_EVERY + 10, job)
    family = psutil.Process(job.pid).children(recursive=True)
    if victim == "driver":
        job.kill()
    else:
        for process in processes(job, victim):
            process.kill()
        time.sleep(2)
        os.killpg(job.pid, signal.SIGKILL)  # what is left of a driver without its head
    job.wait(LONGEST)
    for process in family:
        if process.is_running():
            process.kill()
    before = len((root / "train" / "metrics.jsonl").read_text().splitlines())
    assert SAVE_EVERY < before < STEPS
    check(root, ended(start(folder, root), root), undisturbed)


def test_workers_that_fail_again_and_again_end_with_one_line_and_a_training_that_can_go_on(folder, undisturbed):
    root = folder / "failing"
    job = start(folder, root)
    reached(root, SAVE_EVERY + 5, job)
    deadline = time.monotonic() + LONGEST
    while job.poll() is None and time.monotonic() < deadline:
        for process in processes(job, "RayTrainWorker"):
            process.kill()
        time.sleep(0.5)
    assert job.wait(10) == 2
    log = (root.parent / f"{root.name}.log").read_text().splitlines()
    (told,) = [line for line in log if line.startswith("cpt: error: ")]
    assert told.startswith(f"cpt: error: output={root}/train: the workers failed 4 times; the last failure: ")
    assert told.endswith("run it again to go on from the newest checkpoint (SPIRE_TRACEBACK=1 tells more)")
    check(root, ended(start(folder, root), root), undisturbed)
