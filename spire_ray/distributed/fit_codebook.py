"""The stage fit_codebook: features of a sample of the manifest → k-means centroids."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray import storage
from spire_ray.distributed import context, shards, stage
from spire_ray.distributed.stage import Job, Plan
from spire_ray.manifest import planning, reader
from spire_ray.settings import FitCodebook

_SHARD_SECONDS = 600.0
_HELD_OUT = 0.1
"""Share of the sampled shards whose frames only measure the inertia."""
SAMPLE_FILE = "sample.parquet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("fit_codebook", run, plan, arguments)


def plan(settings: FitCodebook) -> Plan:
    """Clusters, sampled hours and encoder."""
    encoder = settings.encoder.name + ("" if settings.encoder.name == "mfcc" else f", layer {settings.encoder.layer}")
    line = f"{settings.clusters} clusters on at most {settings.hours:g} h of {settings.split}, frames of {encoder}"
    return Plan({"manifest": settings.manifest}, (line,))


def run(job: Job[FitCodebook]) -> None:
    """Sample, encode, fit, measure, save."""
    from spire_ray.units import kmeans, lloyd
    from spire_ray.units.codebook import Codebook
    from spire_ray.units.encoder import load_encoder

    settings = job.settings
    sample = _sample(settings)
    place = storage.join(settings.output, SAMPLE_FILE)
    storage.write_parquet(place, sample)
    planned = [asdict(shard) for shard in planning.planned(place, {}, _SHARD_SECONDS)]
    encoded = (
        context.blocks(planned)
        .map_batches(shards.Decode({}, float("inf")), batch_size=1, batch_format="pyarrow")
        .map_batches(
            EncodeShard,
            fn_constructor_args=(settings,),
            batch_size=1,
            batch_format="pyarrow",
            compute=context.actors(settings.workers, len(planned)),
            num_gpus=settings.gpus_per_worker or None,
        )
    )
    parts: dict[int, np.ndarray] = {}
    for row in encoded.iter_rows():
        parts[row["shard"]] = np.load(io.BytesIO(row["frames"]))
        job.progress.update(len(parts), len(planned), f"{len(parts)}/{len(planned)} shards encoded")
    frames = np.concatenate([parts[number] for number in sorted(parts)])
    held_out = np.random.default_rng(settings.seed).random(len(frames)) < _HELD_OUT
    fit = lloyd.fit(frames[~held_out], settings.clusters, iterations=settings.iterations, seed=settings.seed)
    for step, value in enumerate(fit.inertia, 1):
        job.tracker.log_metrics({"codebook/inertia": value}, step)
    facts: dict[str, Any] = {
        "frames": int((~held_out).sum()),
        "inertia": fit.inertia,
        "held_out_inertia": kmeans.inertia(frames[held_out], fit.centroids),
    }
    identity = load_encoder(settings.encoder).identity
    Codebook.create(fit.centroids, settings.encoder, identity, facts).save(settings.output)
    plot = _plot(fit.inertia, frames, fit.centroids)
    storage.write_bytes(storage.join(settings.output, "codebook.png"), plot)
    job.tracker.log_artifact("codebook.png", plot)
    job.facts |= {"rows": len(sample), "frames": facts["frames"], "inertia": round(fit.inertia[-1], 4)}
    job.facts["held_out_inertia"] = round(facts["held_out_inertia"], 4)


def _sample(settings: FitCodebook) -> pa.Table:
    """A seeded sample of whole utterances, at most `hours` of them."""
    manifest = reader.read(settings.manifest)
    chosen = np.array([split == settings.split for split in manifest["split"].to_pylist()])
    if not chosen.any():
        raise ValueError(f"split={settings.split}: no row of {settings.manifest} belongs to it")
    rows = np.random.default_rng(settings.seed).permutation(np.flatnonzero(chosen))
    seconds = np.cumsum([manifest["duration"][int(i)].as_py() or 0.0 for i in rows])
    return manifest.take(rows[: max(1, int(np.searchsorted(seconds, settings.hours * 3600)))])


class EncodeShard:
    """A Ray Data actor: decoded shard → its frames, float32 [N, d] as `.npy`; rows that were refused give none."""

    def __init__(self, settings: FitCodebook) -> None:
        import torch

        from spire_ray.units.encoder import load_encoder

        torch.set_num_threads(1)
        self._encoder = load_encoder(settings.encoder, "cuda" if settings.gpus_per_worker else "cpu")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        shard = batch.to_pylist()[0]
        audio = [samples for samples in shards.waveforms(shard) if len(samples) >= self._encoder.shortest]
        frames = [self._encoder.encode([samples])[0].cpu().numpy() for samples in audio]
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(frames) if frames else np.zeros((0, 0), np.float32))
        return pa.table({"shard": [shard["shard"]], "frames": pa.array([buffer.getvalue()], pa.large_binary())})


def _plot(inertia: list[float], frames: np.ndarray, centroids: np.ndarray) -> bytes:
    """Inertia over iterations and how often each unit is used."""
    import torch
    from matplotlib.figure import Figure

    from spire_ray.units.kmeans import Assigner

    counts = np.bincount(Assigner(centroids)(torch.from_numpy(frames)), minlength=len(centroids))
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(range(1, len(inertia) + 1), inertia, marker="o", markersize=3)
    left.set(title="inertia", xlabel="iteration", ylabel="mean squared distance")
    right.bar(range(len(counts)), np.sort(counts)[::-1], width=1.0)
    right.set(title=f"frames per unit, {int((counts == 0).sum())} unused", xlabel="units by use", ylabel="frames")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
