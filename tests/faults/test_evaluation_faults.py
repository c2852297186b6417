"""An evaluation that is killed, or whose workers die, loses no answer and asks nothing twice that was answered."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from spire_ray.evaluation import hypotheses
from spire_ray.tools import audit

ROOT = Path(__file__).parents[2]
ROWS, IN_A_SHARD = 40, 4


@pytest.fixture
def start(tmp_path):
    """A function: environment → the job, evaluating 40 rows in 10 shards."""
    rows = [
        {"utt_id": f"r{n:02d}", "audio_filepath": "a.wav", "split": "test", "language": "en", "text": f"the {n}",
         "translations": {"de": f"THE {n}"}}
        for n in range(ROWS)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "stage": "evaluate", "output": str(tmp_path / "out"), "data": str(tmp_path / "rows.jsonl"),
        "plugins": ["tests.faults.fragile_system"], "models": [{"name": "f", "system": "fragile", "tasks": ["mt"]}],
        "rows_per_shard": IN_A_SHARD, "bootstrap": 20, "workers": 2, "tracking": {"enabled": False},
    }  # fmt: skip
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))

    def started(**environment):
        return subprocess.Popen(
            [sys.executable, "-m", "spire_ray", "evaluate", "--config", str(tmp_path / "evaluate.yaml")],
            cwd=ROOT, env={**os.environ, "SPIRE_TEST_NOTES": str(tmp_path / "notes"), "PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    return started


def whole(tmp_path):
    [(_, _, rows)] = hypotheses.everything(str(tmp_path / "out"))
    assert [row["hypothesis"] for row in rows] == [f"THE {n}" for n in range(ROWS)]
    assert audit.main([str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["f.mt.chrf"] == pytest.approx(100)


def done(tmp_path):
    return len(list((tmp_path / "out" / "hypotheses" / "f" / "mt" / "_done").glob("*.json")))


@pytest.mark.long
def test_a_job_that_is_killed_again_and_again_loses_no_answer(start, tmp_path):
    kills = 0
    for least in (2, 5, 8):
        job = start()
        while done(tmp_path) < least:
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        kills += 1
        time.sleep(2)  # until Ray has ended its workers
    _, told = start().communicate(timeout=120)
    whole(tmp_path)
    asked = (tmp_path / "notes").read_text().split()
    assert len(asked) <= ROWS + kills * 2 * IN_A_SHARD, f"shards that were done are asked again\n{told}"


@pytest.mark.long
def test_a_worker_that_dies_is_replaced_and_its_shard_asked_again(start, tmp_path):
    for n in range(2):
        (tmp_path / f"deadly-{n}").touch()
    job = start(SPIRE_TEST_FATAL="r21")
    _, told = job.communicate(timeout=120)
    assert job.returncode == 0, told
    whole(tmp_path)
    assert (tmp_path / "notes").read_text().split().count("r21") == 3


@pytest.mark.long
def test_a_row_that_kills_whoever_asks_it_ends_the_job_by_its_shard_and_the_rest_stays(start, tmp_path):
    for n in range(9):
        (tmp_path / f"deadly-{n}").touch()
    job = start(SPIRE_TEST_FATAL="r21")
    _, told = job.communicate(timeout=120)
    assert job.returncode == 2 and "shard 5 of f: 3 workers died over it" in told
    assert len(list(tmp_path.glob("deadly-*"))) == 6
