"""Tokens per second of training on rows of instruction tuning: ours against a Hugging Face Trainer, the gain by part.

    python benchmarks/train.py                                  # 4 layers of d = 256, V = 37,056, on one CPU core
    python benchmarks/train.py --only bare deepspeed ray --output benchmarks/results/train_overhead.json
    python benchmarks/train.py --shape configs/shapes/llama-2-7b.json --sequence-length 4096 --dtype bfloat16   # one GPU

Ways, each a process of its own on the same documents for `--seconds`; only tokens that are no padding are counted:
`trainer` is transformers.Trainer as its documentation advises (padded to the longest of a batch, grouped by length); it
needs accelerate. The next four are one PyTorch loop that takes up our measures one by one: `padded` rows with all logits,
`packed` rows with all logits, `counted` makes the logits of counted targets alone, `bare` attends document by document.
`deepspeed` is the engine that the jobs use, `ray` the same engine as a worker of Ray Train, with the CPU-seconds of the
whole cluster. CPUs are compared by CPU-seconds, GPUs by wall clock. What is measured begins after the start and a warm-up.
Ways with the same batches tell how far their losses at the end of the warm-up are apart. Results go to `--output`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
WAYS = ("trainer", "padded", "packed", "counted", "bare", "deepspeed", "ray")
SAME_BATCHES = WAYS[2:]


def main() -> None:
    """Run each way in a process of its own, in turn, `repeats` times; print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--shape", default="", help="config.json; empty: the small model")
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=2, help="packed rows of a micro-batch")
    parser.add_argument("--batch-documents", type=int, default=8, help="padded documents of a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=4, help="of a step")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpointing", choices=("none", "selective", "full"), default="none")
    parser.add_argument("--trainable", choices=("full", "lora"), default="full", help="of the engine")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--warmup", type=int, default=2, help="steps")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run, CPU-seconds on a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "train.json"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        from benchmarks.train_peer import trainer
        from benchmarks.train_ways import engine, loop, on_ray

        run = {"trainer": trainer, "deepspeed": engine, "ray": on_ray}.get(options.way)
        print("RESULT", json.dumps(run(options) if run else loop(options.way, options)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.only}
    given, environment = sys.argv[1:], os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(options.repeats):
        for way in options.only:
            command = [sys.executable, __file__, *given, "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
            if line is None:
                sys.exit(f"{way} failed:\n{done.stderr[-2000:]}")
            found[way].append(json.loads(line.removeprefix("RESULT ")))
    report(found, options)


def report(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print medians, spread and ratios, and write them with what they were measured on."""
    ways: dict[str, Any] = {}
    before = ""
    for way, runs in found.items():
        speeds = sorted(run["tokens_per_s"] for run in runs)
        median = float(np.median(speeds))
        ratios = {to: median / ways[to]["median"] for to in (options.only[0], before) if to in ways}
        ways[way] = {"median": median, "min": speeds[0], "max": speeds[-1], "ratio": ratios, "runs": runs}
        told = ", ".join(f"× {ratio:.2f} of {to}" for to, ratio in ratios.items())
        print(f"{way:>10}  {median:>7,.0f} tokens/s  ({speeds[0]:,.0f} – {speeds[-1]:,.0f})  {told}")
        before = way
    losses = [run["loss"] for way in SAME_BATCHES for run in found.get(way, ())]
    agreement = max(losses) / min(losses) - 1 if losses else None
    print(f"losses at the end of the warm-up, same batches: {agreement:.1e} apart" if losses else "")
    written = {
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "load": os.getloadavg()},
        "versions": {name: version(name) for name in ("torch", "transformers", "deepspeed", "ray")},
        "options": vars(options),
        "agreement": agreement,
        "ways": ways,
    }
    Path(options.output).write_text(json.dumps(written, indent=2) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
