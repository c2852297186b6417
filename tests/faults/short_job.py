"""The stage label as a process, on the corpus of `short_corpus`."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS, SHARDS = 240, 40


def start(folder, *settings, **environment):
    """The process, on the cluster of RAY_ADDRESS where one is given; its words can be read from it."""
    fields = {"stage": "label", "manifest": f"{folder}/m.jsonl", "codebook": f"{folder}/codebook", "output": f"{folder}/units"}
    fields |= {"shard_seconds": 3.0, "workers": 5, "tracking": {"enabled": False}, "storage": {"shared_root": str(folder)}}
    command = [sys.executable, "tests/faults/noted_label.py", "--config", json.dumps(fields), *settings]
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    known |= {"SPIRE_TEST_NOTES": os.devnull, "SPIRE_TEST_FULL_FROM": "inf", **environment}
    return subprocess.Popen(command, cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def label(folder, *settings, **environment):
    """Until its end: its status, and what it said."""
    process = start(folder, *settings, **environment)
    said, errors = process.communicate(timeout=400)
    return process.returncode, said, errors
