"""Features of a sample → k-means centroids.

By a group of Ray Train workers.
Each worker keeps the frames of its own shards and passes over them; what the passes find is all-reduced, and every worker makes
the same step of it. A killed fit goes on where it was: the sample, the frames of each shard and the state after each iteration
are files.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from spire_ray.core import references, storage, tables
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest import sample, splits
from spire_ray.model import license
from spire_ray.runtime import cluster, collectives, frames, group
from spire_ray.runtime.job import Job
from spire_ray.settings import FitCodebookSettings
from spire_ray.shards import augmentation, planning, talkers
from spire_ray.units import codebook_plots, quality
from spire_ray.units.codebook import Codebook
from spire_ray.units.kmeans import lloyd

_SHARD_SECONDS = 600.0
_RESTARTS = 3
_TOO_FEW = "clusters="
_PATIENCE = 6 * 3600.0
"""Seconds: a worker that has made its frames waits for one with slower ones."""
SAMPLE_FILE = "sample.parquet"
_STATE_FILE = "_state.safetensors"
_PROGRESS_FILE = "_progress.json"


def plan(settings: FitCodebookSettings) -> Iterable[str]:
    """Clusters, sampled hours, encoder, and the size of the frames."""
    if settings.engine == "faiss" and settings.gpus_per_worker:
        raise ValueError(
            f"engine=faiss: works on CPUs; with gpus_per_worker={settings.gpus_per_worker:g} use engine=torch, which is exact"
        )
    augmentation.check(settings.augment.copies)
    splits.require(settings.manifest, settings.split, settings.columns)
    encoder = settings.encoder.name
    encoder += f", layer {settings.encoder.layer}" if references.has_weights(encoder) else ""
    how = f"mini-batches of {settings.batch_frames} frames" if settings.batch_frames else "Lloyd"
    return (
        f"{settings.clusters} clusters on at most {settings.hours:g} h of {settings.split}, frames of {encoder}",
        f"{settings.iterations} iterations, {how}; frames on disk while it runs: 2 bytes a value, "
        f"{settings.hours * 3600 * 50 * 2 * 1024 / 1e9:.1f} GB at 50 a second and 1,024 dimensions",
    )


def run(job: Job[FitCodebookSettings]) -> None:
    """Sample, and let the workers encode, fit, measure and save."""
    settings = job.settings
    license.check_encoder(settings.encoder.name, settings.license.accept, settings.encoder.revision)
    place = storage.join(settings.output, SAMPLE_FILE)
    job.facts["rows"] = tables.rows(place) if storage.exists(place) else _sample(settings, place)
    if settings.augment.copies:
        talkers.prepare(settings.augment, settings.manifest, settings.columns, settings.split, settings.output)
    planned = list(planning.planned(place, {}, _SHARD_SECONDS))
    given = {"settings": settings, "planned": planned, "tracker": job.tracker}
    with group.watched(job.progress, settings.output, lambda: _progress(settings.output)):
        try:
            facts = group.run(_group(settings, len(planned)), _worker, given)
        except ValueError as error:
            if str(error).startswith(_TOO_FEW):  # for which another configuration is the cure, so that the folder is left free
                frames.discard(settings.output)
                for name in (SAMPLE_FILE, _PROGRESS_FILE, augmentation.TALKERS_FILE):
                    storage.delete(storage.join(settings.output, name))
            raise
    for reason, count in sorted(facts["rejected_by_reason"].items(), key=lambda pair: -pair[1]):
        print(f"  rejected {count}: {reason}")
    if why := facts.pop("collapsed"):
        print(f"  collapsed, the stage label will refuse it: {why}")
    job.facts |= facts
    frames.discard(settings.output)
    for name in (_STATE_FILE, _PROGRESS_FILE, augmentation.TALKERS_FILE):
        storage.delete(storage.join(settings.output, name))


def _group(settings: FitCodebookSettings, planned: int) -> group.Group:
    return group.Group(
        field="workers",
        count=max(1, min(settings.workers, planned)),
        cpus=settings.threads,
        gpus=settings.gpus_per_worker,
        patience=_PATIENCE,
        wait_minutes=settings.wait_minutes,
        backend="gloo",  # sums of K · d float64 an iteration, which the passes leave on the CPU
        restarts=_RESTARTS,
        output=settings.output,
        smaller="fewer hours",
        kept="the last iteration",
    )


def _sample(settings: FitCodebookSettings, place: str) -> int:
    seconds, of_speaker = settings.hours * 3600, settings.speaker_hours * 3600
    drawn = sample.draw(settings.manifest, settings.split, seconds, settings.seed, settings.weights, of_speaker, settings.columns)
    for corpus, table in drawn.items():
        if corpus:
            print(f"  {corpus}: {len(table)} utterances, {float(np.sum(table['duration'].to_numpy())) / 3600:.2f} h")
    chosen = chain.from_iterable(table["utt_id"].to_pylist() for table in drawn.values())
    return sample.write(settings.manifest, chosen, place, settings.columns)


def _worker(given: dict[str, Any]) -> dict[str, Any]:
    """One Ray Train worker: the whole fit, in step with the others; what there is to say of it."""
    settings: FitCodebookSettings = given["settings"]
    if settings.gpus_per_worker:
        cluster.allow_compiling()
    import torch

    torch.set_num_threads(settings.threads)
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    share = frames.FrameStore(settings, given["planned"][rank::world], group.device(settings.gpus_per_worker))
    fit = _Fit(settings, share, given["tracker"] if rank == 0 else None)
    fit.encode()
    return fit.save(fit.iterate())


class _Fit:
    """The fit as one worker sees it. The first one has the tracker, and writes."""

    def __init__(self, settings: FitCodebookSettings, share: frames.FrameStore, tracker: Any) -> None:
        self._settings, self._share, self._tracker = settings, share, tracker
        self._made: list[frames.ShardStats] = []
        self._exponent = 0

    def encode(self) -> None:
        """Make the frames of the share. Raises ValueError on every worker for what one of them refuses."""
        encoded, rows = 0, self._share.rows
        try:
            for made in self._share.encode():
                encoded += made.rows
                self._tell(encoded, rows, f"{encoded}/{rows} utterances of the first worker")
            found: Any = self._share.made
        except (OSError, ValueError) as error:  # which a restart would not mend
            found = str(error)
        everywhere = collectives.all_gather(found)
        for one in everywhere:
            if isinstance(one, str):
                raise ValueError(one)
        self._made = sorted(chain.from_iterable(everywhere), key=lambda made: made.shard)
        count = sum(made.frames for made in self._made)
        clusters = self._settings.clusters
        if count < clusters:
            raise ValueError(f"{_TOO_FEW}{clusters}: only {count} frames were sampled; raise hours or lower clusters")
        self._exponent = lloyd.exponent(max(made.largest for made in self._made), count)

    def iterate(self) -> lloyd.State:
        """The state after the last iteration."""
        settings = self._settings
        state: lloyd.State = collectives.broadcast(_read(settings.output) if self._tracker else None) or self._begin()
        while (step := len(state.inertia)) < settings.iterations:
            began = time.monotonic()
            found = self._statistics(state.centroids, settings.batch_frames, step)
            state = state.step(found, self._exponent, settings.seed, mini_batch=bool(settings.batch_frames))
            if self._tracker:
                _write(settings.output, state)
                speed = int(found.counts.sum()) / (time.monotonic() - began)
                metrics = {"codebook/inertia": state.inertia[-1], "codebook/frames_per_second": speed}
                self._tracker.log_metrics(metrics, step + 1)
                text = f"iteration {step + 1}/{settings.iterations}  inertia {state.inertia[-1]:.5g}  {speed:,.0f} frames/s"
                self._tell(step + 1, settings.iterations, text)
        return state

    def save(self, state: lloyd.State) -> dict[str, Any]:
        """Measure the last centroids over all frames, write the codebook, and draw it."""
        found = self._statistics(state.centroids)
        held_out = sum(collectives.all_gather(self._share.held_out(state.centroids)), quality.Tally())
        if not self._tracker:
            return {}
        settings, identity = self._settings, self._share.identity()
        inertia = (*state.inertia, found.inertia(state.centroids, self._exponent))
        figures = quality.figures(found.counts, held_out, identity.frame_rate)
        count = int(found.counts.sum())
        fit = {"frames": count, "inertia": list(inertia), "quality": figures}
        Codebook.create(state.centroids, settings.encoder, identity, fit).save(settings.output)
        plot = codebook_plots.codebook(inertia, found.counts, figures, held_out.joint)
        storage.write_bytes(storage.join(settings.output, "codebook.png"), plot)
        self._tracker.log_artifact("codebook.png", plot)
        self._tracker.log_metrics({f"codebook/{name}": value for name, value in figures.items()})
        self._tracker.flush()
        rejected = sum((Counter(made.rejected) for made in self._made), Counter[str]())
        facts = {"rejected": rejected.total(), "rejected_by_reason": dict(rejected), "frames": count}
        rounded = {name: round(value, 4) for name, value in ({"inertia": inertia[-1]} | figures).items()}
        return facts | rounded | {"collapsed": quality.collapse(figures)}

    def _begin(self) -> lloyd.State:
        """The first centroids, which the first worker draws from what every worker has drawn."""
        settings = self._settings
        some = frames.quota(self._made, lloyd.SEEDING_FRAMES * settings.clusters)
        drawn = collectives.gather_to_first(self._share.draw(some, (settings.seed,)))
        return lloyd.State.begin(collectives.broadcast(self._share.first_centroids(drawn) if drawn else None))

    def _statistics(self, centroids: np.ndarray, batch: int = 0, step: int = 0) -> lloyd.Statistics:
        """Of all frames of all workers, or of a mini-batch of them."""
        some = frames.quota(self._made, batch) if batch else None
        found = self._share.statistics(centroids, self._exponent, some, (self._settings.seed, step))
        squares = tuple(chain.from_iterable(collectives.all_gather(found.squares)))
        return lloyd.Statistics(collectives.all_reduce_sum(found.sums), collectives.all_reduce_sum(found.counts), squares)

    def _tell(self, done: float, total: float, text: str) -> None:
        if self._tracker:
            storage.write_bytes(storage.join(self._settings.output, _PROGRESS_FILE), json.dumps([done, total, text]).encode())


def _progress(output: str) -> group.Line | None:
    """What the first worker told last."""
    place = storage.join(output, _PROGRESS_FILE)
    return (*json.loads(storage.read_bytes(place)), None) if storage.exists(place) else None


def _read(folder: str) -> lloyd.State | None:
    """The state that a killed fit has left, if any."""
    if not storage.exists(storage.join(folder, _STATE_FILE)):
        return None
    arrays = load_safetensors(storage.read_bytes(storage.join(folder, _STATE_FILE)))
    return lloyd.State(arrays["centroids"], arrays["seen"], tuple(arrays["inertia"].tolist()))


def _write(folder: str, state: lloyd.State) -> None:
    arrays = {"centroids": state.centroids, "seen": state.seen, "inertia": np.array(state.inertia)}
    storage.write_bytes(storage.join(folder, _STATE_FILE), save_safetensors(arrays))


STAGES.register("fit_codebook", Stage(FitCodebookSettings, plan, run, uses="Ray Train, torch or faiss"))
