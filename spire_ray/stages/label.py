"""Audio → deduplicated discrete units.

Shard by shard, with Ray Data.
Encoder and codebook run in a fixed pool of actors, decoding in CPU tasks before them or, where the actors have no GPU that would
wait, in the actors themselves. Each shard is written and marked done by the actor that labelled it; a resume plans only shards
without a mark. The driver keeps nothing for a row.
"""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.audio.decode import LEVEL, NUMERICS
from spire_ray.core import lock, references, storage, tables
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest import splits
from spire_ray.manifest.schema import EVERY_SPLIT
from spire_ray.runtime import asides, cluster, nodes
from spire_ray.runtime.asides import Aside
from spire_ray.runtime.job import Job
from spire_ray.settings import SAMPLE_RATE, LabelSettings
from spire_ray.shards import account, augmentation, carrying, decoding, heard, marks, parts, planning, proof, talkers
from spire_ray.shards.decoded import Decoded
from spire_ray.shards.shard import Shard
from spire_ray.stages._hearing import Guard, Hearing
from spire_ray.stages._label_report import Report, summarise
from spire_ray.units.fingerprint import FINGERPRINT_FILE

_PCM_BYTES = 2 * SAMPLE_RATE
_DECODE_COPIES, _LABEL_COPIES = 4, 8
"""Memory of a task and of an actor, in sizes of the PCM of a shard; Ray places no more of them on a node than fit."""


def plan(settings: LabelSettings) -> Iterable[str]:
    """Rows, hours and shards."""
    if settings.cut_seconds and settings.cut_seconds < 2:
        raise ValueError(f"cut_seconds={settings.cut_seconds:g}: must be at least 2, or 0 for no cuts")
    if settings.augment.copies:
        augmentation.check(settings.augment.copies)
        splits.require(settings.manifest, settings.augment.split, settings.columns)
    return _described(settings)


def run(job: Job[LabelSettings]) -> None:
    """Label every shard that is not done, rows that are tried again, and take over what has changed beside the audio."""
    from spire_ray.model import license

    settings = job.settings
    codebook = _codebook(settings)
    codebook.check_sound(settings.codebook)
    license.check_encoder(codebook.encoder.name, settings.license.accept, codebook.encoder.revision)
    recordings = f"cut {settings.cut_seconds:g}s" if settings.cut_seconds else "whole"
    identity = replace(codebook.fingerprint.identity, recordings=recordings, level=LEVEL)
    made = replace(codebook.fingerprint, identity=identity)
    planned = _planned(settings)
    storage.write_json(storage.join(settings.output, FINGERPRINT_FILE), made.to_dict())
    _compare(settings, planned)
    todo, carried = _todo(settings, planned)
    if carried:
        take_over = carrying.CarryOver(settings.output, dict(settings.columns))
        taken = cluster.blocks([asdict(shard) for shard in carried]).map_batches(take_over, batch_size=1, batch_format="pyarrow")
        print(f"  taken over into {sum(1 for _ in taken.iter_rows())} shards: columns beside the audio that have changed")
    if todo:
        report = Report(job, todo)
        asked = proof.of(settings.output, planned, settings.columns)
        pipeline = _Pipeline(settings, asked)
        try:
            for labelled in asides.results(todo, settings.columns, pipeline, report.aside):
                report.add(labelled)
        finally:
            report.end()
            job.tracker.log_artifact("ray_data.txt", pipeline.stats().encode())
    marks.check_numerics([settings.output], settings.units.strict)
    summarise(job, codebook.fingerprint.identity.clusters)


def _planned(settings: LabelSettings) -> list[Shard]:
    """The plan; where rows get copies, who babbles is written, too."""
    augment = settings.augment
    if augment.copies and not planning.is_planned(settings.manifest, settings.columns, settings.output):
        talkers.prepare(augment, settings.manifest, settings.columns, augment.split, settings.output)
    decide = ("split",) if augment.copies and augment.split != EVERY_SPLIT else ()
    cut = bool(settings.cut_seconds)
    return planning.plan(settings.manifest, settings.columns, settings.output, settings.shard_seconds, cut=cut, depends_on=decide)


def _codebook(settings: LabelSettings) -> Any:
    """The codebook, its encoder in the dtype that is asked for. Raises ValueError where the encoder has no weights."""
    from spire_ray.units.codebook import Codebook

    found = Codebook.load(settings.codebook)
    if settings.dtype and not references.has_weights(found.encoder.name):
        raise ValueError(f"dtype={settings.dtype}: {found.encoder.name} has no weights and computes in float32; leave it out")
    return replace(found, encoder=replace(found.encoder, dtype=settings.dtype or found.encoder.dtype))


def _compare(settings: LabelSettings, planned: list[Shard]) -> None:
    """Shards whose audio inside Parquet files has changed are undone."""
    if rows := [asdict(shard) for shard in heard.doubtful(settings.output, planned)]:
        compare = heard.Compare(settings.output, dict(settings.columns))
        compared = cluster.blocks(rows).map_batches(compare, batch_size=1, batch_format="pyarrow")
        changed = sum(row["changed"] for row in compared.iter_rows())
        print(f"  files that have changed: of {len(rows)} shards {changed} have other audio and are labelled again")


def _todo(settings: LabelSettings, planned: list[Shard]) -> tuple[list[dict[str, Any]], list[Shard]]:
    """Shards to be labelled, with what of a part is tried `again`, and shards that only take over other columns."""
    there = marks.by_shard(settings.output, marks.Mark)
    for number in there.keys() - {shard.shard for shard in planned}:
        marks.discard(settings.output, number)
    account.check_retry(settings.retry, {kind for mark in there.values() for kind in mark.rejected})
    new = account.unfinished(planned, there)
    todo = {shard.shard: asdict(shard) | {"again": []} for shard in new}
    for shard in planned:
        if shard.shard not in todo and (kinds := account.again(there[shard.shard], settings.retry)):
            todo[shard.shard] = asdict(shard) | {"again": [] if settings.cut_seconds or settings.augment.copies else kinds}
    whole = {number for number, row in todo.items() if not row["again"]}
    return list(todo.values()), [shard for shard in account.stale(planned, there) if shard.shard not in whole]


class LabelShard:
    """A Ray Data actor: decoded shard → part file, done mark, and a row of counts; or why the shard is set aside.

    With `hearing` it takes rows of the plan.
    """

    def __init__(self, settings: LabelSettings, guard: Guard | None = None, hearing: Hearing | None = None) -> None:
        if settings.gpus_per_worker:
            cluster.allow_compiling()
        import torch

        from spire_ray.units.labeler import Labeler

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        self._labeler = Labeler(_codebook(settings), device, settings.batch_seconds)
        self._output, self._tolerance = settings.output, settings.length_tolerance
        self._guard, self._hearing = guard, hearing
        self._numerics = {**self._labeler.numerics, **NUMERICS}
        if settings.units.strict:
            self._check_numerics()

    def _check_numerics(self) -> None:
        """Raise ValueError if shards of this folder were made in another way than this actor would."""
        for name, values in marks.numerics(self._output).items():
            if (mine := self._numerics.get(name, "unknown")) not in values or len(values) > 1:
                there = " and ".join(sorted(values))
                raise ValueError(f"units.strict=true: {self._output} was made with {name} {there}, and this worker has {mine}")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        number = batch["shard"][0].as_py()
        aside = Aside.of(batch.to_pylist()[0] if self._hearing is None and "aside_why" in batch.column_names else {})
        if not aside.why and self._guard:
            aside = self._guard.refuse("labelling", number)
        if aside.why:
            return _told(number, aside)
        table = self._label(batch)
        if self._guard:
            self._guard.done("labelling", number)
        return table

    def _label(self, batch: pa.Table) -> pa.Table:
        began = time.monotonic()
        if self._hearing:
            decoded, aside = self._hearing.shard(batch)
            if aside.why:
                return _told(decoded.shard, aside)
        else:
            decoded = Decoded.from_table(batch)
        decoded.refuse_shorter(self._labeler.encoder.shortest)
        decoded.refuse_other_lengths(self._tolerance)
        audio, errors, shard = decoded.samples, decoded.errors, decoded.shard
        good = [i for i, error in enumerate(errors) if not error]
        labelled = dict(zip(good, self._labeler([audio[i] for i in good], deduplicate=True), strict=True))
        table = parts.unit_rows(decoded.rows, labelled, errors)
        seconds = sum(len(audio[i]) for i in good) / SAMPLE_RATE
        before = marks.one(self._output, shard, marks.Mark).audio_seconds if decoded.again else 0.0
        table = parts.merged(self._output, shard, table) if decoded.again else table
        lock.check(self._output)
        tables.write(marks.part(self._output, shard), table)
        counts = marks.Mark(
            rows=len(table),
            rejected=account.by_reason(table["error"].to_pylist()),
            audio_seconds=before + seconds,
            frames=pc.sum(pc.list_flatten(table["durations"])).as_py() or 0,
            units=len(pc.list_flatten(table["units"])),
            seconds=round(time.monotonic() - began, 3),
            at=time.time(),
            digest=decoded.digest,
            carried=decoded.carried,
            numerics=self._numerics,
            heard=decoded.heard,
            source=decoded.source,
        )
        marks.write(self._output, shard, counts)
        return _told(shard, Aside(), seconds, counts.seconds, account.by_reason(errors))


def _told(
    shard: int, aside: Aside, audio_seconds: float = 0.0, busy: float = 0.0, rejected: Mapping[str, int] = MappingProxyType({})
) -> pa.Table:
    """The row that the driver gets; `rejected` counts by reason."""
    counts = {"shard": [shard], "audio_seconds": [audio_seconds], "busy": [busy], "rejected": [json.dumps(dict(rejected))]}
    return aside.beside(pa.table(counts))


class _Pipeline:
    """The Ray Data pipeline: a row of counts for every shard."""

    def __init__(self, settings: LabelSettings, asked: proof.Proof) -> None:
        self._settings, self._asked = settings, asked
        self._made: list[Any] = []

    def __call__(self, todo: list[dict[str, Any]], without: Collection[str]) -> Any:
        """Rows of the plan, and the nodes that they must not be worked on."""
        settings, placed = self._settings, nodes.avoiding(without)
        guard = Guard(self._asked, nodes.deaths())
        hearing = Hearing(decoding.Decode.of(settings), guard, settings.max_rejected_share)
        apart = settings.decode == "tasks" or (settings.decode == "auto" and settings.gpus_per_worker > 0)
        pcm = settings.shard_seconds * _PCM_BYTES * (1 + len(settings.augment.copies) * settings.augment.share)
        rows = cluster.blocks(todo)
        if apart:
            rows = rows.map_batches(hearing, batch_size=1, batch_format="pyarrow", memory=_DECODE_COPIES * pcm, **placed)
        pool = cluster.actors(
            settings.workers,
            len(todo),
            settings.threads,
            settings.gpus_per_worker,
            int(apart),
            wait_minutes=settings.wait_minutes,
            without=without,
        )
        made = rows.map_batches(
            LabelShard,
            fn_constructor_args=(settings, guard, None if apart else hearing),
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=settings.threads,
            num_gpus=settings.gpus_per_worker or None,
            memory=(_LABEL_COPIES if apart else _LABEL_COPIES + _DECODE_COPIES) * pcm,
            **placed,
        )
        self._made.append(made)
        return made

    def stats(self) -> str:
        """What Ray Data says of its operators."""
        return "\n".join(made.stats() for made in self._made)


def _described(settings: LabelSettings) -> Iterator[str]:
    if settings.manifest.endswith(".tar"):
        yield f"rows and hours: unknown until the tars are read; {settings.workers} actors"
    elif storage.exists(storage.first(settings.manifest)):
        rows = seconds = count = 0.0
        for shard in planning.planned(settings.manifest, settings.columns, settings.shard_seconds):
            rows, seconds, count = rows + shard.rows, seconds + shard.seconds, count + 1
        yield f"{rows:.0f} rows, {seconds / 3600:.2f} h in {count:.0f} shards on {settings.workers} actors"
    if (augment := settings.augment).copies:
        yield f"copies of {augment.share:.0%} of {augment.split}: {', '.join(augment.copies)}"


def _grown(settings: LabelSettings) -> bool:
    if not planning.is_planned(settings.manifest, settings.columns, settings.output):
        return True
    todo, carried = _todo(settings, planning.read(settings.output))
    return bool(todo or carried) or any(heard.doubtful(settings.output, planning.read(settings.output)))


STAGES.register("label", Stage(LabelSettings, plan, run, uses="Ray Data", grown=_grown))
