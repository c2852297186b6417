"""Units from waveforms: this package against the way of SpireLM, and how far both are from the machine's limit.

    python benchmarks/units.py [--shapes hubert-large mhubert-147] [--seconds 60] [--output benchmarks/results/units.json]
    python benchmarks/units.py --device cuda --seconds 7200   # a GPU; never run so far

Random weights of the true shapes, centroids drawn from their own features, synthetic clips as long as those of corpora; PCM in
host memory → units in host memory. The reference is written anew from the facts: batches of 240 s sorted by length and padded,
Hugging Face's model under its mask, the whole distance matrix, argmin, labels to Python lists. Systems run in turn, medians are
printed; CPU-seconds of the process stand beside the wall clock, since only they say something on a busy machine.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.units_data import SHAPES, agreement, flops, random_codebook, synthetic_clips, truth_of
from benchmarks.units_peer import BATCH_SECONDS, Reference, padding
from spire_ray.core import storage
from spire_ray.settings import SAMPLE_RATE
from spire_ray.units.codebook import Codebook
from spire_ray.units.kernels import attention
from spire_ray.units.kernels.products import Linear
from spire_ray.units.labeler import Labeler

DTYPES = ("bfloat16", "float32")


def main() -> None:
    """Measure, print and write JSON."""
    from spire_ray.core.provenance import versions  # wants pydantic, which a bare GPU machine does not have

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--seconds", type=float, default=60.0, help="audio of a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "benchmark": "units",
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads",
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "load": os.getloadavg()},
        "versions": versions(),
        "shapes": {},
    }
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            report["shapes"][shape] = _measure(shape, folder, options)
        if options.output:
            storage.write_json(options.output, report)


def _measure(shape: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    config, layer, clusters = SHAPES[shape]
    codebook = random_codebook(folder, config, layer, clusters)
    clips = list(synthetic_clips(options.seconds, seed=1))
    seconds = sum(len(clip) for clip in clips) / SAMPLE_RATE
    systems = _systems(folder, codebook, options.device)
    labels = {name: system(clips) for name, system in systems.items()}  # warms up as well
    on_gpu = options.device == "cuda"
    for system in systems.values() if on_gpu else ():
        system(clips)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    products: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(options.runs):
        for name, system in systems.items():
            taken[name].append(_timed(lambda system=system: system(clips)))
        for name in DTYPES:
            products[name].append(_rate(getattr(torch, name), options.device))
    rates = {name: round(statistics.median(found)) for name, found in products.items()}
    rows = {}
    products_of_all = sum(flops(config, layer, clusters, len(clip)) for clip in clips)
    truth = truth_of(folder, codebook, clips, options.device)
    for name, runs in taken.items():
        wall, cpu = (statistics.median(run[i] for run in runs) for i in (0, 1))
        rows[name] = {
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "x_real_time": round(seconds / wall, 1),
            "x_real_time_per_cpu_second": round(seconds / cpu, 2),
            "share_of_matrix_product": round(products_of_all / (wall if on_gpu else cpu) / 1e9 / rates[name.split()[1]], 3),
            "wall_spread": [round(min(run[0] for run in runs), 3), round(max(run[0] for run in runs), 3)],
            "cpu_spread": [round(min(run[1] for run in runs), 3), round(max(run[1] for run in runs), 3)],
            **agreement(labels[name], truth),
        }
        print(f"{shape:13} {name:19}", rows[name], flush=True)
    return {
        "layer": layer,
        "clusters": clusters,
        "clips": len(clips),
        "seconds": round(seconds, 1),
        "matrix_product_gflops": rates,
        "gflop_per_second_of_audio": round(products_of_all / seconds / 1e9, 2),
        "padding_of_the_reference": round(padding(clips), 4),
        "systems": rows,
        "ratios": _ratios(rows, "wall_s" if on_gpu else "cpu_s"),
        "parts_s": parts(folder, codebook, clips, options.device),
    }


def _systems(folder: str, codebook: Codebook, device: str) -> dict[str, Callable[[list[np.ndarray]], list[np.ndarray]]]:
    def ours(dtype: str) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
        return Labeler.from_pretrained(folder, codebook, dtype=dtype, device=device, batch_seconds=BATCH_SECONDS)

    return {f"spire-ray {dtype}": ours(dtype) for dtype in DTYPES} | {
        f"reference {dtype}": Reference(folder, codebook, dtype, device) for dtype in DTYPES
    }


def _ratios(rows: dict[str, dict[str, Any]], measure: str) -> dict[str, float]:
    ours, best = rows["spire-ray bfloat16"], rows["spire-ray float32"]
    return {
        f"bfloat16 against the reference's float32 ({measure})": round(rows["reference float32"][measure] / ours[measure], 2),
        f"bfloat16 against the reference's bfloat16 ({measure})": round(rows["reference bfloat16"][measure] / ours[measure], 2),
        f"float32 against the reference's float32 ({measure})": round(rows["reference float32"][measure] / best[measure], 2),
    }


def parts(folder: str, codebook: Codebook, clips: list[np.ndarray], device: str) -> dict[str, float]:
    """Seconds of the parts of the bfloat16 path; each is waited for on a GPU, so that their sum is an upper bound."""
    labeler = Labeler.from_pretrained(folder, codebook, dtype="bfloat16", device=device, batch_seconds=BATCH_SECONDS)
    packed = labeler.encoder._packed  # type: ignore[attr-defined]
    taken: dict[str, float] = {}
    for name, part in {
        "_features": "front end",
        "_positions": "positions",
        "_fed_forward": "feed-forward",
        "_add_norm": "norms",
    }.items():
        setattr(packed, name, _watched(getattr(packed, name), part, taken, device))
    attended = _watched(packed._attended, "attention and its projections", taken, device)
    packed._attended = attended
    nearest = _watched(labeler._assign.labels, "nearest centroid", taken, device)
    labeler._assign = SimpleNamespace(labels=nearest)  # type: ignore[assignment]
    whole = _watched(labeler, "all", taken, device)
    packed = attention.packed_attention
    with mock.patch.object(attention, "packed_attention", lambda *given: _watched(packed(*given), "attention", taken, device)):
        whole(clips)
    taken["projections of the attention"] = taken.pop("attention and its projections") - taken["attention"]
    taken["rest"] = 2 * taken["all"] - sum(taken.values())
    return {part: round(seconds, 4) for part, seconds in taken.items()}


def _watched(function: Callable[..., Any], part: str, taken: dict[str, float], device: str) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        wall, cpu = _timed(lambda: made.append(function(*given)), device)
        taken[part] = taken.get(part, 0.0) + (wall if device == "cuda" else cpu)
        return made.pop()

    made: list[Any] = []
    return call


def _timed(work: Callable[[], Any], device: str = "cpu") -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - cpu


def _rate(dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of a product of the feed-forward, by the wall clock of a GPU or the CPU-seconds of a core."""
    rows = 1500 if device == "cpu" else 12_000
    x, weight = (torch.randn(n, 1024, device=device).to(dtype) for n in (rows, 4096))
    product = Linear(weight, None)
    runs = [_timed(lambda: product(x), device)[device == "cpu"] for _ in range(30)]
    return 2 * rows * 1024 * 4096 / statistics.median(runs[10:]) / 1e9


if __name__ == "__main__":
    main()
