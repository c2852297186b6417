"""The stages as a cluster runs them: submitted to a head of its own through Ray's Jobs API, with token authentication."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head():
    """(dashboard address, environment of its clients) of a head that was started as a process of its own."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short, because Unix socket paths are
    token = Path(folder) / "token"
    token.write_text(secrets.token_hex(32))
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "RAY_raylet_start_wait_time_s": "300",
    }
    environment.pop("RAY_ADDRESS", None)
    port = _free_port()
    options = ["--head", "--block", "--port", str(_free_port()), "--dashboard-port", str(port), "--num-cpus", "4"]
    options += ["--dashboard-agent-listen-port", str(_free_port())]  # jobs are started by the agent; another cluster may have one
    command = [f"{binaries}/ray", "start", *options, "--temp-dir", folder, "--disable-usage-stats"]
    log = (Path(folder) / "head.log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 300
    while "Ray runtime started" not in (told := (Path(folder) / "head.log").read_text()):
        assert process.poll() is None and time.monotonic() < deadline, told
        time.sleep(1)
    yield address, environment
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@pytest.mark.long
def test_a_submitted_label_job_accounts_for_every_row(head, tiny_codebook, tmp_path):
    address, environment = head
    noise = np.random.default_rng(0)
    lines = []
    for number in range(6):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, noise.standard_normal(8000 + 4000 * number) / 8, 16_000)
        lines.append({"utt_id": f"u{number}", "audio_filepath": path.name, "duration": 0.5 + 0.25 * number, "split": "test"})
    (tmp_path / "3.flac").write_text("this is not audio")
    (tmp_path / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    tiny_codebook.save(str(tmp_path / "codebook"))
    settings = [f"root={tmp_path}", "manifest={root}/manifest.jsonl", "codebook={root}/codebook", "shard_seconds=2"]
    job = ["python", "jobs/label.py", "--config", "configs/quickstart/label.yaml", *settings]
    submitted = subprocess.run(
        ["ray", "job", "submit", "--address", address, "--", *job], env=environment, capture_output=True, text=True, check=False
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    rows = [row for part in sorted((tmp_path / "units").glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [row["utt_id"] for row in rows] == [f"u{number}" for number in range(6)]
    assert [row["status"] for row in rows] == ["labelled"] * 3 + ["rejected"] + ["labelled"] * 2
    assert "not readable as audio" in rows[3]["error"]
    assert "rejected 1" in submitted.stdout


@pytest.mark.long
def test_the_smoke_recipe_survives_being_killed_and_teaches_the_model_to_hear(head, tmp_path):
    address, environment = head
    command = [
        sys.executable,
        "-m",
        "spire_ray",
        "run",
        "configs/quickstart/smoke.yaml",
        f"root={tmp_path}",
        "--address",
        address,
    ]
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "recipe.json").exists() or "label" not in json.loads((tmp_path / "recipe.json").read_text())["steps"]:
        assert first.poll() is None, "the recipe ended before it was killed"
        time.sleep(0.2)
    first.kill()
    first.wait()
    stop = (
        "from ray.job_submission import JobSubmissionClient as C; c = C(); [c.stop_job(j.submission_id) for j in c.list_jobs()]"
    )
    subprocess.run([sys.executable, "-c", stop], env=environment | {"RAY_API_SERVER_ADDRESS": address}, check=True)
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "units" / "_done").iterdir()}
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    assert "label: done already" in second.stdout
    assert marks == {path: path.stat().st_mtime_ns for path in marks}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["asr.cpt.wer"] < 40
    assert report["asr.control.wer"] > report["asr.wer"] + 30
