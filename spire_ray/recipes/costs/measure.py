"""Half a minute of work that says how fast this machine is: starting Python, small training steps, rows, matrix products."""

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

from spire_ray.recipes.costs import hardware

_IMPORTS = "import ray.train.torch, deepspeed, transformers.models.llama.modeling_llama"
_SECONDS = 5.0
_SHAPE = {"vocab_size": 1000, "hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 512}
_ROWS, _LENGTH = 12, 128


def measure() -> dict[str, float]:
    """The probes of this machine, all cores at work at once; also kept for the plans that follow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, check=True)
    probes = {"start": round(time.monotonic() - began, 2)}
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        for name, probe in (("train", _train), ("matrix", _matrix), ("rows", _rows)):
            rates = pool.map(_alone, [probe] * cores, chunksize=1)
            probes[name] = round(sum(rates) / len(rates))
    kept = {"probes": probes, "cores": cores, "machine": f"{platform.node()}, {cores} cores", "date": time.strftime("%Y-%m-%d")}
    hardware.kept().parent.mkdir(parents=True, exist_ok=True)
    hardware.kept().write_text(json.dumps(kept))
    return probes


def _alone(probe: Callable[[], float]) -> float:
    import torch

    torch.set_num_threads(1)
    return probe()


def _repeated(work: Callable[[], float]) -> float:
    """Amount of work in a second; `work` returns how much it has done."""
    work()
    done, began = 0.0, time.monotonic()
    while time.monotonic() - began < _SECONDS:
        done += work()
    return done / (time.monotonic() - began)


def _train() -> float:
    """Operations in a second of forward and backward passes of a small Llama, as a worker on a CPU takes them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from spire_ray.training.budget import Shape

    torch.manual_seed(0)
    config = LlamaConfig(**_SHAPE, tie_word_embeddings=True, attn_implementation="sdpa")  # type: ignore[arg-type]
    model = LlamaForCausalLM(config)
    tokens = torch.randint(0, _SHAPE["vocab_size"], (_ROWS, _LENGTH))
    each = Shape.read(config.to_dict()).flops(_LENGTH / 2)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=tokens, labels=tokens).loss.backward()
        model.zero_grad()
        return each * tokens.numel()

    return _repeated(step)


def _matrix() -> float:
    """Operations in a second of float32 matrix products."""
    import torch

    one = torch.randn(1024, 1024)

    def product() -> float:
        one @ one
        return 2.0 * 1024**3

    return _repeated(product)


def _rows() -> float:
    """Rows that are written as JSON and read again in a second."""
    row = {"utt_id": "0123456789", "text": "The dog sees the cat. " * 4, "units": list(range(64)), "duration": 1.82}

    def thousand() -> float:
        for _ in range(1000):
            json.loads(json.dumps(row))
        return 1000.0

    return _repeated(thousand)
