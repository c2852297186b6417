"""Trainings on several workers, started by the tests: see `workers.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
OPTIMISER = {"lr": 1e-2, "warmup_steps": 2, "clip": 0.5, "weight_decay": 0.1, "schedule": "cosine"}
TRAINING = {"steps": 8, "global_batch_size": 4, "optimizer": OPTIMISER, "save_every": 4, "keep": 9, "log_every": 1}


def answers_pack(folder, tokenizer, rows=48):
    """Rows of instruction tuning: every document is counted at its end alone, for one to six tokens."""
    from spire_ray.packs.pack import Document, write
    from spire_ray.text import prompts

    draw = np.random.default_rng(0)
    units = [draw.integers(0, 20, draw.integers(3, 20)).astype(np.uint16) for _ in range(3 * rows)]
    spans = [prompts.completion(prompts.asr_prompt(), "the dog" if unit[0] % 2 else "Hund", unit) for unit in units]
    encoded = tokenizer.encode(spans)
    documents = [
        Document(ids, np.arange(len(ids)) >= len(ids) - draw.integers(1, 7), f"u{i}", i % 2) for i, (ids, _) in enumerate(encoded)
    ]
    index = {"sources": [{"name": "asr.en"}, {"name": "st.de"}], "fingerprint": None, "tokenizer": tokenizer.record.tokenizer}
    write(str(folder), documents, 48, 384, 0, index)
    return str(folder)


class Phases:
    """Phases that run one after the other in one process tree."""

    def __init__(self, folder, model, pack):
        self._folder, self._model, self._pack = folder, model, pack
        self._phases = []

    def add(self, name, world, stage=1, output="", half=False, **given):
        """One training; `output` is the name of the phase whose folder it goes on in.

        Also `kill_at`, the step after which it is killed, and `refused`, what it must end with instead of an end.
        """
        preset = self._folder / f"{name}.json"
        preset.write_text(json.dumps({"zero_optimization": {"stage": stage}, "bf16": {"enabled": half}}))
        training = {**TRAINING, **given.pop("training", {})}
        phase = {
            "world": world,
            "model": self._model,
            "pack": self._pack,
            "deepspeed": str(preset),
            "output": str(self._folder / f"{output or name}.out"),
            "result": str(self._folder / f"{name}.result"),
            "training": training,
        }
        self._phases.append({**phase, **given})

    def run(self):
        """Run them all; the metrics of each by name and step."""
        plan = self._folder / "phases.json"
        plan.write_text(json.dumps(self._phases))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        program = [sys.executable, str(Path(__file__).with_name("workers.py")), str(plan)]
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return {Path(phase["result"]).stem: self._result(phase) for phase in self._phases}

    def _result(self, phase):
        status = int(Path(phase["result"] + ".status").read_text())
        logs = [Path(f"{phase['result']}.{rank}.log").read_text()[-2000:] for rank in range(phase["world"])]
        if "refused" in phase:
            assert phase["refused"] in logs[0]
            return {}
        assert (status == 9) if "kill_at" in phase else (status == 0), "\n".join(logs)
        return {step: metrics for step, metrics in json.loads(Path(phase["result"]).read_text()) if "loss" in metrics}

    def output(self, name):
        """The folder of a phase."""
        return str(self._folder / f"{name}.out")


def losses(metrics):
    """The loss of each step."""
    return {step: line["loss"] for step, line in metrics.items()}
