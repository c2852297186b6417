"""Processes of the drills: the stage label on the corpus of `short_corpus`, and a look into a cluster.

They are processes of their own because another test may hold this one's only connection to Ray.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS, SHARDS = 240, 40
NAMESPACE = ["unshare"] if os.geteuid() == 0 else ["unshare", "--map-root-user"]


def start(folder, *settings, inside=(), **environment):
    """The process, on the cluster of RAY_ADDRESS where one is given; its words can be read from it.

    `inside` are words before its command: of a program that starts it elsewhere.
    """
    fields = {"stage": "label", "manifest": f"{folder}/m.jsonl", "codebook": f"{folder}/codebook", "output": f"{folder}/units"}
    fields |= {"shard_seconds": 3.0, "workers": 5, "tracking": {"enabled": False}, "storage": {"shared_root": str(folder)}}
    command = [*inside, sys.executable, "tests/faults/noted_label.py", "--config", json.dumps(fields), *settings]
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    known |= {"SPIRE_TEST_NOTES": os.devnull, "SPIRE_TEST_FULL_FROM": "inf", **environment}
    return subprocess.Popen(command, cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def label(folder, *settings, **environment):
    """Until its end: its status, and what it said."""
    process = start(folder, *settings, **environment)
    said, errors = process.communicate(timeout=400)
    return process.returncode, said, errors


def requires_namespace(*kinds):
    """Skip the test where this machine gives its users no namespaces of such kinds, as options of unshare."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, *kinds, "true"]).returncode:
        pytest.skip("this machine gives its users no namespaces of their own")


def seen(address, expression):
    """The value of an expression, which may be written as JSON, in a process of a cluster that knows `ray`."""
    program = (
        f"import json, ray\nray.init({address!r}, log_to_driver=False, logging_level='ERROR')\nprint(json.dumps({expression}))"
    )
    known = os.environ | {"RAY_AUTH_MODE": "disabled"}
    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=known, capture_output=True, text=True, check=True)
    return json.loads(asked.stdout.splitlines()[-1])


def waited(condition, seconds):
    """Whether something comes true in so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found
