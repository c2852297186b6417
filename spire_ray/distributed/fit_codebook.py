"""The stage fit_codebook: features of a sample of the manifest → k-means centroids.

A killed fit goes on where it was: the sample, the frames of each shard and the state after each iteration are files.
"""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from spire_ray import storage
from spire_ray.distributed import frames, stage
from spire_ray.distributed.stage import Job, Plan
from spire_ray.evaluation import codebook_plots
from spire_ray.manifest import planning, sample
from spire_ray.settings import FitCodebook
from spire_ray.units import lloyd, quality
from spire_ray.units.codebook import Codebook

_SHARD_SECONDS = 600.0
SAMPLE_FILE = "sample.parquet"
_STATE_FILE = "_state.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("fit_codebook", run, plan, arguments)


def plan(settings: FitCodebook) -> Plan:
    """Clusters, sampled hours, encoder, and the size of the frames."""
    encoder = settings.encoder.name + ("" if settings.encoder.name == "mfcc" else f", layer {settings.encoder.layer}")
    how = f"mini-batches of {settings.batch_frames} frames" if settings.batch_frames else "Lloyd"
    lines = (
        f"{settings.clusters} clusters on at most {settings.hours:g} h of {settings.split}, frames of {encoder}",
        f"{settings.iterations} iterations, {how}; frames on disk while it runs: 2 bytes a value, "
        f"{settings.hours * 3600 * 50 * 2 * 1024 / 1e9:.1f} GB at 50 a second and 1,024 dimensions",
    )
    inputs = {"manifest": storage.first(settings.manifest), "alignments": settings.alignments}
    return Plan({name: path for name, path in inputs.items() if path}, lines)


def run(job: Job[FitCodebook]) -> None:
    """Sample, encode, fit, measure, save."""
    settings = job.settings
    place = storage.join(settings.output, SAMPLE_FILE)
    rows = storage.parquet_rows(place) if storage.exists(place) else _sample(settings, place)
    fleet = frames.Fleet(settings, list(planning.planned(place, {}, _SHARD_SECONDS)))
    try:
        _encode(job, fleet, rows)
        exponent = _grid(settings, fleet.made)
        _save(job, fleet, _fit(job, fleet, exponent), exponent)
    finally:
        fleet.close()
    frames.discard(settings.output)
    storage.delete(storage.join(settings.output, _STATE_FILE))
    job.facts["rows"] = rows


def _sample(settings: FitCodebook, place: str) -> int:
    drawn = sample.draw(
        settings.manifest, settings.split, settings.hours * 3600, settings.seed, settings.weights, settings.speaker_hours * 3600
    )
    for corpus, table in drawn.items():
        if corpus:
            print(f"  {corpus}: {len(table)} utterances, {float(np.sum(table['duration'].to_numpy())) / 3600:.2f} h")
    return sample.write(settings.manifest, chain.from_iterable(table["utt_id"].to_pylist() for table in drawn.values()), place)


def _encode(job: Job[FitCodebook], fleet: frames.Fleet, rows: int) -> None:
    encoded, made = 0, 0
    rejected: Counter[str] = Counter()
    for shard in fleet.encode():
        encoded, made = encoded + shard.rows, made + shard.frames + shard.held_out
        rejected.update(shard.rejected)
        refused = f"  {sum(rejected.values())} rejected" if rejected else ""
        job.progress.update(encoded, rows, f"{encoded}/{rows} utterances  {made} frames{refused}")
    for reason, count in sorted(rejected.items(), key=lambda pair: -pair[1]):
        print(f"  rejected {count}: {reason}")
    job.facts |= {"rejected": sum(rejected.values()), "rejected_by_reason": dict(rejected)}


def _grid(settings: FitCodebook, made: Sequence[frames.Made]) -> int:
    count = sum(one.frames for one in made)
    if count < settings.clusters:
        raise ValueError(f"clusters={settings.clusters}: only {count} frames were sampled; raise hours or lower clusters")
    return lloyd.exponent(max(one.largest for one in made), count)


def _fit(job: Job[FitCodebook], fleet: frames.Fleet, exponent: int) -> lloyd.State:
    settings = job.settings
    state = _read(settings.output)
    if state is None:
        state = lloyd.State.begin(fleet.first_centroids(lloyd.SEEDING_FRAMES * settings.clusters))
    while (step := len(state.inertia)) < settings.iterations:
        began = time.monotonic()
        found = fleet.statistics(state.centroids, exponent, settings.batch_frames, step)
        state = state.step(found, exponent, settings.seed, mini_batch=bool(settings.batch_frames))
        _write(settings.output, state)
        speed = int(found.counts.sum()) / (time.monotonic() - began)
        metrics = {"codebook/inertia": state.inertia[-1], "codebook/frames_per_second": speed}
        job.tracker.log_metrics(metrics, step + 1)
        text = f"iteration {step + 1}/{settings.iterations}  inertia {state.inertia[-1]:.5g}  {speed:,.0f} frames/s"
        job.progress.update(step + 1, settings.iterations, text)
    job.facts["frames"] = sum(made.frames for made in fleet.made)
    return state


def _save(job: Job[FitCodebook], fleet: frames.Fleet, state: lloyd.State, exponent: int) -> None:
    """Measure the last centroids over all frames, write the codebook, and draw it."""
    settings = job.settings
    identity = fleet.identity()
    found = fleet.statistics(state.centroids, exponent)
    inertia = (*state.inertia, found.inertia(state.centroids, exponent))
    held_out = fleet.held_out(state.centroids)
    figures = quality.figures(found.counts, held_out, identity.frame_rate)
    facts: dict[str, Any] = {"frames": int(found.counts.sum()), "inertia": list(inertia), "quality": figures}
    Codebook.create(state.centroids, settings.encoder, identity, facts).save(settings.output)
    plot = codebook_plots.codebook(inertia, found.counts, figures, held_out.joint)
    storage.write_bytes(storage.join(settings.output, "codebook.png"), plot)
    job.tracker.log_artifact("codebook.png", plot)
    job.tracker.log_metrics({f"codebook/{name}": value for name, value in figures.items()})
    job.facts |= {"inertia": round(inertia[-1], 4), **{name: round(value, 4) for name, value in figures.items()}}
    if why := quality.collapse(figures):
        print(f"  collapsed, the stage label will refuse it: {why}")


def _read(folder: str) -> lloyd.State | None:
    """The state that a killed fit has left, if any."""
    if not storage.exists(storage.join(folder, _STATE_FILE)):
        return None
    arrays = load_safetensors(storage.read_bytes(storage.join(folder, _STATE_FILE)))
    return lloyd.State(arrays["centroids"], arrays["seen"], tuple(arrays["inertia"].tolist()))


def _write(folder: str, state: lloyd.State) -> None:
    arrays = {"centroids": state.centroids, "seen": state.seen, "inertia": np.array(state.inertia)}
    storage.write_bytes(storage.join(folder, _STATE_FILE), save_safetensors(arrays))
