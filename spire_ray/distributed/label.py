"""The stage label: audio → deduplicated units, shard by shard, with Ray Data.

Decoding runs in CPU tasks, encoder and codebook in a fixed pool of actors. Each shard is written and marked done by the
actor that labelled it; a resume plans only shards without a mark.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray import storage
from spire_ray.distributed import context, shards, stage
from spire_ray.distributed.stage import Job, Plan
from spire_ray.manifest import reader
from spire_ray.manifest.schema import LABELLED, REJECTED, UNITS
from spire_ray.settings import SAMPLE_RATE, Label

_DONE = "_done"
FINGERPRINT_FILE = "fingerprint.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("label", run, plan, arguments)


def plan(settings: Label) -> Plan:
    """Rows, hours and shards."""
    inputs = {"manifest": settings.manifest, "codebook": settings.codebook}
    if not storage.exists(settings.manifest):
        return Plan(inputs)
    planned = shards.plan(reader.read(settings.manifest), settings.shard_seconds)
    rows, hours = sum(planned["rows"].to_pylist()), sum(planned["seconds"].to_pylist()) / 3600
    return Plan(inputs, (f"{rows} rows, {hours:.2f} h in {len(planned)} shards on {settings.workers} actors",))


def run(job: Job[Label]) -> None:
    """Label every shard that is not done."""
    from spire_ray.units.codebook import Codebook

    settings = job.settings
    codebook = Codebook.load(settings.codebook)
    storage.write_json(storage.join(settings.output, FINGERPRINT_FILE), codebook.fingerprint.to_dict())
    planned = shards.plan(reader.read(settings.manifest), settings.shard_seconds)
    storage.write_parquet(storage.join(settings.output, shards.PLAN_FILE), planned)
    done = {int(name.removesuffix(".json")) for name in storage.listing(storage.join(settings.output, _DONE))}
    todo = [row for row in planned.to_pylist() if row["shard"] not in done]
    hours = sum(row["seconds"] for row in todo) / 3600
    began, finished = time.monotonic(), 0.0
    if todo:
        results = (
            context.blocks(todo)
            .map_batches(shards.Decode(settings.manifest, settings.max_seconds), batch_size=1, batch_format="pyarrow")
            .map_batches(
                LabelShard,
                fn_constructor_args=(settings,),
                batch_size=1,
                batch_format="pyarrow",
                compute=context.actors(settings.workers, len(todo)),
                num_cpus=settings.threads,
                num_gpus=settings.gpus_per_worker or None,
            )
        )
        for shard in results.iter_rows():
            finished += shard["seconds"] / 3600
            speed = finished * 3600 / (time.monotonic() - began)
            job.progress.update(finished, hours, f"{finished:.2f}/{hours:.2f} h  {speed:.0f} × real time")
            job.tracker.log_metrics({"label/hours": finished, "label/x_real_time": speed}, int(shard["shard"]))
    _summarise(job, codebook.fingerprint.identity.clusters)


class LabelShard:
    """A Ray Data actor: decoded shard → part file, done mark, and a row of counts."""

    def __init__(self, settings: Label) -> None:
        import torch

        from spire_ray.units.codebook import Codebook
        from spire_ray.units.labeler import Labeler

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        self._labeler = Labeler(Codebook.load(settings.codebook), device, settings.batch_seconds)
        self._output = settings.output

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        began = time.monotonic()
        shard = batch.to_pylist()[0]
        audio, errors = shards.waveforms(shard), list(shard["errors"])
        shortest = self._labeler.encoder.shortest
        for i, (samples, error) in enumerate(zip(audio, errors, strict=True)):
            if not error and len(samples) < shortest:
                errors[i] = f"shorter than one frame: {len(samples)} of {shortest} samples"
        good = [i for i, error in enumerate(errors) if not error]
        labelled = dict(zip(good, self._labeler([audio[i] for i in good]), strict=True))
        rows = shards.from_ipc(shard["rows"])
        part = f"part-{shard['shard']:06d}.parquet"
        storage.write_parquet(storage.join(self._output, part), _unit_rows(rows, labelled, errors))
        counts = {
            "rows": len(errors),
            "rejected": dict(Counter(error for error in errors if error)),
            "audio_seconds": sum(len(audio[i]) for i in good) / SAMPLE_RATE,
            "frames": int(sum(durations.sum() for _, durations in labelled.values())),
            "units": int(sum(len(units) for units, _ in labelled.values())),
            "seconds": round(time.monotonic() - began, 3),
        }
        storage.write_json(storage.join(self._output, _DONE, f"{shard['shard']:06d}.json"), counts)
        return pa.table({"shard": [shard["shard"]], "seconds": [counts["audio_seconds"]]})


def _unit_rows(rows: pa.Table, labelled: dict[int, tuple[np.ndarray, np.ndarray]], errors: list[str]) -> pa.Table:
    empty = (np.zeros(0, np.uint16), np.zeros(0, np.uint16))
    pairs = [labelled.get(i, empty) for i in range(len(errors))]
    made = {
        "units": pa.array([units for units, _ in pairs], pa.list_(pa.uint16())),
        "durations": pa.array([durations for _, durations in pairs], pa.list_(pa.uint16())),
        "status": pa.array([REJECTED if error else LABELLED for error in errors]),
        "error": pa.array([error or None for error in errors], pa.string()),
    }
    return pa.table([made[name] if name in made else rows[name] for name in UNITS.names], schema=UNITS)


def _summarise(job: Job[Label], clusters: int) -> None:
    """Add up the done marks: every row is labelled or rejected, and the counts say so."""
    folder = job.settings.output
    marks = [storage.read_json(storage.join(folder, _DONE, name)) for name in storage.listing(storage.join(folder, _DONE))]
    reasons: Counter[str] = Counter()
    for mark in marks:
        reasons.update(mark["rejected"])
    rows, rejected = sum(mark["rows"] for mark in marks), sum(reasons.values())
    facts: dict[str, Any] = {
        "rows": rows,
        "labelled": rows - rejected,
        "rejected": rejected,
        "hours": round(sum(mark["audio_seconds"] for mark in marks) / 3600, 4),
        "frames": sum(mark["frames"] for mark in marks),
        "units": sum(mark["units"] for mark in marks),
        "clusters": clusters,
    }
    job.facts |= facts | {"rejected_by_reason": dict(reasons)}
    for reason, count in reasons.most_common():
        print(f"  rejected {count}: {reason}")
