"""k-means at SPIRE's size against scikit-learn and faiss.

    python benchmarks/kmeans.py [--output benchmarks/results/kmeans.json]

K = 5,000, d = 1,024, frames drawn from 3,000 clusters with a falling spectrum and four channels of large mean and variance, as
speech encoders have them (random numbers, no real speech). In turn, on one thread, medians of CPU-seconds, so that other work
on the machine does not count:

1. Assignment: frames per second of ours, of faiss and of one float32 product with its argmax; agreement with float64.
2. One iteration: assignment and update, against `partial_fit` of scikit-learn's MiniBatchKMeans and one of faiss.Kmeans.
3. A whole fit, first centroids included: one pass of ours and of partial_fit, more of faiss; inertia of frames unseen by all.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import faiss
import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from benchmarks.frames import DIMENSIONS, speech_like
from spire_ray.core import storage
from spire_ray.core.provenance import versions
from spire_ray.units.kmeans import assigner, lloyd, passes

CLUSTERS, BATCH = 5_000, 10_000
FAISS_PASSES = (1, 2, 4)


def in_turn(work: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """CPU-seconds of each call, one after the other."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repetitions):
        for name, call in work.items():
            began = time.process_time()
            call()
            spent[name].append(time.process_time() - began)
    return spent


def table(spent: dict[str, list[float]], frames: int, ours: str) -> dict[str, Any]:
    """Frames per second, and how many times ours."""
    medians = {name: statistics.median(values) for name, values in spent.items()}
    rows = {
        name: {
            "frames_per_second": round(frames / medians[name]),
            "ours_is_times_faster": round(medians[name] / medians[ours], 2),
            "spread": round((max(values) - min(values)) / medians[name], 3),
        }
        for name, values in spent.items()
    }
    return {"frames": frames, "repetitions": len(spent[ours]), **rows}


def assignment(frames: torch.Tensor, centroids: np.ndarray, repetitions: int) -> dict[str, Any]:
    """Labels of the same frames by each."""
    index = faiss.IndexFlatL2(DIMENSIONS)
    index.add(centroids)
    wide, half = torch.from_numpy(centroids), torch.from_numpy(centroids).square().sum(1) / 2
    found: dict[str, Any] = {}

    def note(name: str, call: Callable[[], Any]) -> Callable[[], object]:
        return lambda: found.update({name: call()})

    ours = {"ours": assigner.Assigner(centroids)}
    ours |= {
        f"ours, {dtype} filter": assigner.Assigner(centroids, dtype=getattr(torch, dtype)) for dtype in ("bfloat16", "float32")
    }
    work = {name: note(name, partial(assigner, frames)) for name, assigner in ours.items()}
    work |= {
        "faiss": note("faiss", lambda: index.search(frames.numpy(), 1)[1][:, 0]),
        "float32 product": note("float32 product", lambda: torch.addmm(-half, frames, wide.T).argmax(1).numpy()),
        "bfloat16 product": note(
            "bfloat16 product", lambda: ((frames.bfloat16() @ wide.bfloat16().T) - half.bfloat16()).argmax(1).numpy()
        ),
    }
    result = table(in_turn(work, repetitions), len(frames), "ours")
    double = wide.double()
    norms = double.square().sum(1) / 2
    exact = torch.cat([(part.double() @ double.T - norms).argmax(1) for part in frames.split(1024)]).numpy()
    for name, labels in found.items():
        result[name]["equal_to_float64"] = round(float((labels == exact).mean()), 6)
    return result


def iteration(frames: torch.Tensor, centroids: np.ndarray, repetitions: int) -> dict[str, Any]:
    """Assignment and update of the same frames."""
    given, half = frames.numpy(), frames.bfloat16()
    grid = lloyd.exponent(float(frames.abs().max()), len(frames))
    sklearn = MiniBatchKMeans(CLUSTERS, init=centroids, n_init=1, batch_size=len(frames), random_state=0)
    sklearn.partial_fit(given)  # the first call also sets up
    theirs = faiss.Kmeans(DIMENSIONS, CLUSTERS, niter=1, max_points_per_centroid=len(frames), min_points_per_centroid=1)
    state = lloyd.State.begin(centroids)

    def ours(engine: str) -> Callable[[], object]:
        return lambda: state.step(
            passes.statistics(half, passes.ENGINES[engine](centroids), CLUSTERS, grid), grid, 0, mini_batch=True
        )

    work = {
        "ours": ours("torch"),
        "ours, engine faiss": ours("faiss"),
        "scikit-learn partial_fit": lambda: sklearn.partial_fit(given),
        "faiss.Kmeans": lambda: theirs.train(given, init_centroids=centroids),
    }
    return table(in_turn(work, repetitions), len(frames), "ours")


def whole_fit(frames: torch.Tensor, held_out: torch.Tensor) -> dict[str, Any]:
    """From nothing: CPU-seconds, and the inertia of frames that none has seen. faiss gets more and more passes."""
    half = frames.bfloat16()
    ways: dict[str, Callable[[], np.ndarray]] = {
        "ours, Lloyd, one pass": lambda: passes.fit(half, CLUSTERS, iterations=1, seed=0).centroids,
        "ours, mini-batches, one pass": lambda: mini_batches(half),
        "scikit-learn partial_fit, one pass": lambda: partial_fits(frames),
    }
    ways |= {f"faiss.Kmeans, passes: {passed}": partial(faiss_kmeans, frames, passed) for passed in FAISS_PASSES}
    rows: dict[str, dict[str, float]] = {}
    for name, way in ways.items():
        began = time.process_time()
        centroids = way()
        spent = time.process_time() - began
        rows[name] = {"cpu_seconds": round(spent, 1), "held_out_inertia": round(assigner.inertia(held_out.numpy(), centroids), 2)}
        print(name, rows[name], flush=True)
    ours = rows["ours, Lloyd, one pass"]["cpu_seconds"]
    for row in rows.values():
        row["ours_is_times_faster"] = round(row["cpu_seconds"] / ours, 2)
    return {"frames": len(frames), **rows}


def mini_batches(frames: torch.Tensor) -> np.ndarray:
    """Ours, in batches as scikit-learn gets them."""
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(frames))[: lloyd.SEEDING_FRAMES * CLUSTERS])
    state = lloyd.State.begin(passes.first_centroids(frames[some], CLUSTERS, 0))
    grid = lloyd.exponent(float(frames.abs().max()), len(frames))
    for batch in frames.split(BATCH):
        found = passes.statistics(batch, assigner.Assigner(state.centroids), CLUSTERS, grid)
        state = state.step(found, grid, 0, mini_batch=True)
    return state.centroids


def partial_fits(frames: torch.Tensor) -> np.ndarray:
    """As SpireLM fits its codebook."""
    fitted = MiniBatchKMeans(CLUSTERS, n_init=1, batch_size=BATCH, reassignment_ratio=0.01, random_state=0)
    for batch in frames.split(BATCH):
        fitted.partial_fit(batch.numpy())
    found: np.ndarray = fitted.cluster_centers_
    return found


def faiss_kmeans(frames: torch.Tensor, passed: int) -> np.ndarray:
    """On all frames, from centroids that it draws itself."""
    fitted = faiss.Kmeans(DIMENSIONS, CLUSTERS, niter=passed, max_points_per_centroid=len(frames), min_points_per_centroid=1)
    fitted.train(frames.numpy())
    found: np.ndarray = fitted.centroids
    return found


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="")
    parser.add_argument("--frames", type=int, default=160_000)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    frames, held_out = speech_like(options.frames, 0), speech_like(8_192, 1)
    centroids = passes.fit(frames[: 4 * BATCH], CLUSTERS, iterations=1, seed=0).centroids
    result = {
        "shape": {"clusters": CLUSTERS, "dimensions": DIMENSIONS},
        "threads": 1,
        "assignment": assignment(held_out, centroids, options.repetitions),
        "iteration": iteration(frames[: 4 * BATCH], centroids, options.repetitions),
        "whole_fit": whole_fit(frames, held_out),
        "machine": {"processor": platform.machine(), **{k: v for k, v in capabilities().items() if v}},
        "versions": versions(),
    }
    print(json.dumps(result, indent=1))
    if options.output:
        storage.write_json(options.output, result)


def capabilities() -> dict[str, bool]:
    """Matrix instructions of the processor."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name: bool(found.get(name)) for name in ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16")}


if __name__ == "__main__":
    main()
