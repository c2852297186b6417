"""The stage fit_codebook on Ray Train: whatever is killed, it ends with the codebook of an undisturbed fit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
ITERATIONS, LONGEST = 400, 300
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Half an hour of noise of many colours."""
    folder = tmp_path_factory.mktemp("corpus")
    draw, rows = np.random.default_rng(0), []
    for number in range(30):
        noise = np.convolve(draw.standard_normal(16_000 * 60), draw.standard_normal(8), "same") / 20
        soundfile.write(folder / f"{number}.flac", noise, 16_000)
        rows.append({"utt_id": f"u{number}", "audio_filepath": f"{number}.flac", "duration": 60.0, "split": "train"})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {"stage": "fit_codebook", "manifest": f"{folder}/m.jsonl", "output": "{root}/codebook", "clusters": 200}
    settings |= {
        "encoder": {"name": "mfcc", "options": {"hop_ms": 20, "context": 3}},
        "hours": 1,
        "iterations": ITERATIONS,
        "workers": 2,
    }
    (folder / "fit.json").write_text(json.dumps(settings | {"tracking": {"enabled": False}}))
    return folder


class Fit:
    """The stage as a process of its own, whose words go to a log."""

    def __init__(self, folder, name):
        self.output, self._log = folder / name / "codebook", folder / f"{name}.log"
        self._command = [sys.executable, "jobs/fit_codebook.py", "--config", f"{folder}/fit.json", f"root={folder}/{name}"]

    def start(self):
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
        with self._log.open("a") as log:
            options = {"stdout": log, "stderr": log, "start_new_session": True}
            self.job = subprocess.Popen(self._command, cwd=ROOT, env=environment, **options)
        return self

    def reach(self, iteration):
        """Wait until an iteration is done."""
        deadline = time.monotonic() + LONGEST
        told = self.output / "_progress.json"
        while not told.exists() or "iteration" not in (news := json.loads(told.read_bytes()))[2] or news[0] < iteration:
            assert self.job.poll() is None and time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.02)

    def family(self):
        return psutil.Process(self.job.pid).children(recursive=True)

    def codebook(self):
        """Its bytes, once the job has ended well."""
        assert self.job.wait(LONGEST) == 0, self._log.read_text()[-3000:]
        return (self.output / "codebook.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(folder):
    return Fit(folder, "undisturbed").start().codebook()


def test_a_killed_worker_is_replaced_and_leaves_no_trace(folder, undisturbed):
    fit = Fit(folder, "worker").start()
    fit.reach(20)
    next(process for process in fit.family() if "RayTrainWorker" in " ".join(process.cmdline())).kill()
    assert fit.codebook() == undisturbed


def test_after_the_death_of_the_driver_the_same_command_goes_on(folder, undisturbed):
    fit = Fit(folder, "driver").start()
    fit.reach(20)
    family = fit.family()
    fit.job.send_signal(signal.SIGKILL)
    fit.job.wait()
    for process in family:
        if process.is_running():
            process.kill()
    assert not (fit.output / "codebook.json").exists()
    assert (fit.output / "_state.safetensors").exists()
    assert fit.start().codebook() == undisturbed
