"""Manifest → manifest: recordings cut at pauses, transcripts in one form, figures of every row.

Shard by shard, as label, which takes the folder that this stage makes as its manifest. What is left out lies in `rejected/` with
its reason, and `card.md` says what was done to how many rows.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.audio.decode import NUMERICS
from spire_ray.core import lock, storage, tables
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest.schema import MANIFEST, REJECTED
from spire_ray.preparation import activity, card, rows, texts
from spire_ray.runtime import asides, cluster, nodes
from spire_ray.runtime.asides import Aside
from spire_ray.runtime.job import Job
from spire_ray.settings import SAMPLE_RATE, PrepareSettings
from spire_ray.shards import account, decoding, heard, marks, planning, proof
from spire_ray.shards.decoded import Decoded
from spire_ray.shards.shard import Shard
from spire_ray.stages._hearing import Guard, judged

_COPIES = 8
"""Memory of an actor, in sizes of the PCM of a shard: a waveform is float32 while speech is looked for in it."""
_RULES_FILE = "rules.yaml"
_EVERYTHING = tuple(name for name in MANIFEST.names if name not in ("utt_id", "audio", "offset", "duration"))


def plan(settings: PrepareSettings) -> Iterable[str]:
    """What is done. Raises ValueError for what cannot be done, here or for lack of a package."""
    speech, transcripts = settings.speech, settings.transcripts
    if speech.cut_seconds and not speech.detector:
        raise ValueError(f"speech.cut_seconds={speech.cut_seconds:g}: name a speech.detector, such as silero")
    if speech.alignments and not speech.cut_seconds:
        raise ValueError(f"speech.alignments={speech.alignments}: tells of rows that are cut; set speech.cut_seconds")
    lines = []
    if speech.detector:
        activity.DETECTORS[speech.detector]()
        cut = f", cut at pauses into at most {speech.cut_seconds:g} s" if speech.cut_seconds else ""
        lines.append(f"speech by {speech.detector}: rows with less than {speech.least_seconds:g} s are rejected{cut}")
    if transcripts.rules:
        asked = storage.is_asked(transcripts.rules)
        count = f"{len(texts.read(transcripts.rules))} rules" if asked else "rules"
        lines.append(f"{count} for transcripts, of {transcripts.rules}")
    if transcripts.identify:
        lines.append(f"language of transcripts by {texts.identifier()}, believed from {transcripts.confidence:.0%}")
    return (*lines, "signal to noise and clipping of every row")


def run(job: Job[PrepareSettings]) -> None:
    """Prepare every shard that is not done."""
    settings = job.settings
    _keep_rules(settings)
    planned = planning.plan(settings.manifest, settings.columns, settings.output, settings.shard_seconds, depends_on=_EVERYTHING)
    changed = {shard.shard for shard in heard.doubtful(settings.output, planned)}
    there = marks.by_shard(settings.output, marks.Mark)
    account.check_retry(settings.retry, {kind for mark in there.values() for kind in mark.rejected})
    todo = {shard.shard for shard in account.unfinished(planned, there)} | changed
    todo |= {number for number, mark in there.items() if account.again(mark, settings.retry)}
    if wanted := [asdict(shard) for shard in planned if shard.shard in todo]:
        asked, total = proof.of(settings.output, planned, settings.columns), sum(row["seconds"] for row in wanted)
        done = 0.0
        pipeline = _Pipeline(settings, asked)
        for found in asides.results(wanted, settings.columns, pipeline):
            done += next(row["seconds"] for row in wanted if row["shard"] == found["shard"])
            job.progress.update(done, total, f"{done / 3600:.2f} of {total / 3600:.2f} h prepared")
    _summarise(job)


def _keep_rules(settings: PrepareSettings) -> None:
    """A copy of the rules beside what they made. Raises ValueError where they were others."""
    if not settings.transcripts.rules:
        return
    kept, now = storage.join(settings.output, _RULES_FILE), storage.read_bytes(settings.transcripts.rules)
    if storage.exists(kept) and storage.read_bytes(kept) != now:
        raise ValueError(
            f"transcripts.rules={settings.transcripts.rules}: are not those that {kept} keeps; choose another output or delete it"
        )
    storage.write_bytes(kept, now)


class _Pipeline:
    """The Ray Data pipeline: a row for every shard."""

    def __init__(self, settings: PrepareSettings, asked: proof.Proof) -> None:
        self._settings, self._asked = settings, asked

    def __call__(self, todo: list[dict[str, Any]], without: Collection[str]) -> Any:
        """Rows of the plan, and the nodes that they must not be worked on."""
        settings = self._settings
        return cluster.blocks(todo).map_batches(
            PrepareShard,
            fn_constructor_args=(settings, Guard(self._asked, nodes.deaths())),
            batch_size=1,
            batch_format="pyarrow",
            compute=cluster.actors(settings.workers, len(todo), wait_minutes=settings.wait_minutes, without=without),
            memory=_COPIES * settings.shard_seconds * 2 * SAMPLE_RATE,
            **nodes.avoiding(without),
        )


class PrepareShard:
    """A Ray Data actor: shard → its part of the manifest, what is left out, and its mark; or why it is set aside."""

    def __init__(self, settings: PrepareSettings, guard: Guard | None = None) -> None:
        self._settings, self._guard = settings, guard
        self._prepare = rows.Preparation(settings)
        self._decode = decoding.Decode(dict(settings.columns), settings.max_seconds, tolerance=settings.length_tolerance)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        row = batch.to_pylist()[0]
        aside = self._guard.refuse("preparing", row["shard"]) if self._guard else Aside()
        if not aside.why:
            aside = self._prepared(row)
            if self._guard:
                self._guard.done("preparing", row["shard"])
        return aside.beside(pa.table({"shard": [row["shard"]]}))

    def _prepared(self, row: dict[str, Any]) -> Aside:
        began, settings = time.monotonic(), self._settings
        shard = Shard.of(row)
        table, source, inside = self._decode.read(shard)
        clips = [clip for [clip] in self._decode.clips(table.to_pylist(), shard)]
        decoded = Decoded.of(shard.shard, clips)
        decoded.refuse_other_lengths(settings.length_tolerance)
        aside = judged(decoded, row, settings.max_rejected_share)
        if aside.why:
            return aside
        kept, left = self._rows([(row, samples) for row, samples, _ in clips], decoded.errors)
        kept = self._in_old_order(marks.part(settings.output, shard.shard), kept)
        lock.check(settings.output)
        tables.write(marks.part(settings.output, shard.shard), pa.Table.from_pylist(kept, rows.PREPARED))
        place = marks.part(storage.join(settings.output, REJECTED), shard.shard)
        if left:
            tables.write(place, pa.Table.from_pylist(left, rows.REJECTED))
        elif storage.exists(place):  # of a first try
            storage.delete(place)
        counts = marks.Mark(
            rows=len(kept) + len(left),
            rejected=account.by_reason(one["error"] for one in left),
            audio_seconds=sum(one["duration"] for one in kept),
            seconds=round(time.monotonic() - began, 3),
            at=time.time(),
            digest=shard.digest,
            carried=shard.carried,
            numerics={**self._prepare.numerics, **NUMERICS},
            heard=inside,
            source=source if inside else "",
        )
        marks.write(settings.output, shard.shard, counts)
        return Aside()

    @staticmethod
    def _in_old_order(part: str, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that a part had first, new ones behind them: whoever reads the folder goes on with what is new."""
        before = tables.read(part, ["utt_id"])["utt_id"].to_pylist() if storage.exists(part) else []
        places = {utt_id: place for place, utt_id in enumerate(before)}
        return sorted(kept, key=lambda row: places.get(row["utt_id"], len(before)))

    def _rows(
        self, clips: Sequence[tuple[dict[str, Any], np.ndarray]], errors: Sequence[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows that are kept, and those that are left out with their reasons."""
        words = self._prepare.words([row["utt_id"] for row, _ in clips])
        kept: list[dict[str, Any]] = []
        left: list[dict[str, Any]] = []
        for (row, samples), error in zip(clips, errors, strict=True):
            try:
                if error:
                    raise rows.Unusable(error)
                for made in self._prepare.made(row, samples, words):
                    (left if "error" in made else kept).append(made)
            except rows.Unusable as reason:
                left.append(row | dict.fromkeys(rows.FIGURES.names) | {"error": str(reason)})
        return kept, left


def _summarise(job: Job[PrepareSettings]) -> None:
    folder = job.settings.output
    total = marks.total(marks.read(folder))
    rejected = sum(total.rejected.values())
    figures = card.figures(folder, total)
    job.facts |= {"rows": total.rows - rejected, "rejected": rejected, "hours": round(total.audio_seconds / 3600, 4)}
    job.facts |= {"rejected_by_reason": total.rejected, "figures": figures}
    job.content = marks.content(folder)
    for line in account.lines(total.rejected):
        print(f"  {line}")
    for note, count in figures["notes"].items():
        print(f"  {note}: {count} rows")
    text = "\n".join(card.lines(job.facts)) + "\n"
    storage.write_bytes(storage.join(folder, "card.md"), text.encode())
    job.tracker.log_artifact("card.md", text.encode())
    account.check(total, job.settings.max_rejected_share, folder)


def _grown(settings: PrepareSettings) -> bool:
    if not planning.is_planned(settings.manifest, settings.columns, settings.output):
        return True
    planned, there = planning.read(settings.output), marks.by_shard(settings.output, marks.Mark)
    again = any(account.again(mark, settings.retry) for mark in there.values())
    return again or bool(account.unfinished(planned, there)) or any(heard.doubtful(settings.output, planned))


STAGES.register("prepare", Stage(PrepareSettings, plan, run, uses="Ray Data, Silero VAD, py3langid", grown=_grown))
