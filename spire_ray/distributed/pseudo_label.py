"""The stage pseudo_label: transcripts → translations, scored and filtered, by shards like label.

An actor translates a shard with continuous batching, has it scored, writes `labels/part-….parquet` and marks it done. When
all are, the cut of each language is found, and `part-….parquet` gets the rows with the translations that are kept. Kept and
dropped translations both stay in `labels/`, with their scores.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray import storage
from spire_ray.distributed import context, stage
from spire_ray.distributed.label import FINGERPRINT_FILE
from spire_ray.distributed.stage import Job, Plan
from spire_ray.manifest.schema import REJECTED
from spire_ray.settings import PseudoLabel
from spire_ray.text import pseudo
from spire_ray.text.languages import language

LABELS_FOLDER = "labels"
_DONE = "_done"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("pseudo_label", run, plan, arguments)


def plan(settings: PseudoLabel) -> Plan:
    """Translations, and what they may cost."""
    for code in settings.languages:
        language(code)
    quality = settings.quality
    if quality.model and not quality.python:
        raise ValueError("quality.python: name the interpreter of the environment that holds unbabel-comet")
    inputs = {"data": settings.data, "model": settings.model}
    lines = [f"into {', '.join(settings.languages)}; " + (_kept(settings) if quality.model else "not scored, all kept")]
    config = storage.join(settings.model, "config.json")
    if storage.exists(settings.data):
        rows = sum(_rows_of(file) for file in _files(settings))
        translations = rows * len(settings.languages)
        lines.append(f"{rows} rows, up to {translations} translations in shards of {settings.rows_per_shard} rows")
        if storage.is_local(settings.model) and os.path.exists(config):
            size = pseudo.parameters(storage.read_json(config))
            hours = pseudo.gpu_hours(translations, size)
            lines.append(f"{size / 1e9:.2f} B parameters: about {hours:.3g} H200-hours at 30 % of the matrix rate (not measured)")
    return Plan(inputs, tuple(lines))


def _kept(settings: PseudoLabel) -> str:
    quality = settings.quality
    best = f", the best {quality.top_k} of each language" if quality.top_k else ""
    return f"kept from {quality.threshold:g} in {quality.model}{best}"


def run(job: Job[PseudoLabel]) -> None:
    """Translate every shard that is not done, then keep the best."""
    from spire_ray.model import licence

    settings = job.settings
    if os.path.isdir(settings.model):
        licence.check(settings.model, settings.licence.accept)
    shards = _shards(settings)
    done = set(storage.listing(storage.join(settings.output, _DONE)))
    todo = [shard for shard in shards if _mark(shard["shard"]) not in done]
    if todo:
        translated = context.blocks(todo).map_batches(
            TranslateShard,
            fn_constructor_args=(settings,),
            batch_size=1,
            num_cpus=settings.threads,
            num_gpus=settings.gpus_per_worker,
            compute=context.actors(settings.workers, len(todo), settings.threads, settings.gpus_per_worker),
        )
        for count, _ in enumerate(translated.iter_rows(), len(shards) - len(todo) + 1):
            job.progress.update(count, len(shards), f"{count}/{len(shards)} shards translated")
    cuts = _cuts(settings, len(shards))
    _write_kept(settings, shards, cuts)
    fingerprint = storage.join(settings.data, FINGERPRINT_FILE)
    if storage.exists(fingerprint):
        storage.write_bytes(storage.join(settings.output, FINGERPRINT_FILE), storage.read_bytes(fingerprint))
    _summarise(job, len(shards), cuts)


class TranslateShard:
    """A Ray Data actor: the transcripts of a shard → its file of translations with scores, and its mark."""

    def __init__(self, settings: PseudoLabel) -> None:
        import torch

        from spire_ray.generation.continuous import ContinuousGenerator
        from spire_ray.generation.tasks import Tasks

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        generator = ContinuousGenerator(settings.model, device=device, max_new_tokens=settings.max_new_tokens)
        self._tasks = Tasks(generator, "it")
        self._settings = settings

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """In: a shard as `_shards` describes it. Out: its number."""
        shard = {key: value[0] for key, value in batch.items()}
        rows = _read(self._settings, shard).to_pylist()
        requests = pseudo.requests(rows, self._settings.languages)
        labels = [self._label(rows[request.row], request) for request in requests]
        for target in self._settings.languages:
            self._translate([label for label in labels if label["target_language"] == target], target)
        self._score([label for label in labels if label["translation"]])
        name = f"part-{shard['shard']:06d}.parquet"
        path = storage.join(self._settings.output, LABELS_FOLDER, name)
        storage.write_parquet(path, pa.Table.from_pylist(labels, schema=pseudo.LABELS))
        counts = {"rows": len(rows), "translations": len(labels), "failed": dict(Counter(_kinds(labels)))}
        storage.write_json(storage.join(self._settings.output, _DONE, _mark(shard["shard"])), counts)
        return {"shard": [shard["shard"]]}

    def _label(self, row: dict[str, Any], request: pseudo.Request) -> dict[str, Any]:
        kept = {key: row.get(key) for key in ("utt_id", "language", "text")}
        return {**kept, "target_language": request.target, "translation": None, "score": None, "error": request.error or None}

    def _translate(self, labels: list[dict[str, Any]], target: str) -> None:
        for source in sorted({str(label["language"]) for label in labels}):
            mine = [label for label in labels if label["language"] == source]
            texts = self._tasks.translate_text([str(label["text"]) for label in mine], source, target)
            for label, text in zip(mine, texts, strict=True):
                label["translation"], label["error"] = (text, None) if text else (None, "empty translation")

    def _score(self, labels: list[dict[str, Any]]) -> None:
        quality = self._settings.quality
        if not quality.model:
            return
        from spire_ray.evaluation import quality as estimates

        rows = [{"src": str(label["text"]), "mt": str(label["translation"])} for label in labels]
        gpus = int(bool(self._settings.gpus_per_worker))
        scores = estimates.scores(rows, quality.model, quality.python, batch_size=quality.batch_size, gpus=gpus)
        for label, score in zip(labels, scores, strict=True):
            label["score"] = score


def _kinds(labels: list[dict[str, Any]]) -> list[str]:
    return [str(label["error"]).partition(": ")[0] for label in labels if label["error"]]


def _mark(shard: int) -> str:
    return f"{shard:06d}.json"


def _files(settings: PseudoLabel) -> list[str]:
    if settings.data.endswith(".parquet"):
        return [settings.data]
    names = [name for name in storage.listing(settings.data) if name.startswith("part-") and name.endswith(".parquet")]
    if not names:
        raise ValueError(f"data={settings.data}: no part-*.parquet there")
    return [storage.join(settings.data, name) for name in names]


def _rows_of(file: str) -> int:
    return storage.parquet_rows(file)


def _shards(settings: PseudoLabel) -> list[dict[str, Any]]:
    """Runs of rows within a file."""
    step = settings.rows_per_shard
    runs = [(file, first) for file in _files(settings) for first in range(0, max(1, _rows_of(file)), step)]
    return [{"shard": number, "file": file, "first": first} for number, (file, first) in enumerate(runs)]


def _read(settings: PseudoLabel, shard: dict[str, Any]) -> pa.Table:
    """Rows of a shard in the split, those that labelling rejected left out."""
    table = storage.read_parquet(str(shard["file"])).slice(int(shard["first"]), settings.rows_per_shard)
    rows = table.drop_columns([name for name in ("audio",) if name in table.column_names])
    keep = np.array([split == settings.split for split in rows["split"].to_pylist()], bool)
    if "status" in rows.column_names:
        keep &= np.array([status != REJECTED for status in rows["status"].to_pylist()], bool)
    return rows.filter(pa.array(keep))


def _labels(settings: PseudoLabel, shard: int) -> pa.Table:
    return storage.read_parquet(storage.join(settings.output, LABELS_FOLDER, f"part-{shard:06d}.parquet"))


def _columns(labels: pa.Table, target: str) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """The translations into a language, their scores (NaN where none) and ranks."""
    import pyarrow.compute as pc

    mine = labels.filter(pc.and_(pc.equal(labels["target_language"], target), pc.is_valid(labels["translation"])))
    scores = mine["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    return mine, scores, pseudo.ranks(mine["utt_id"].to_pylist(), target)


def _cuts(settings: PseudoLabel, shards: int) -> dict[str, pseudo.Cut]:
    """Where each language is cut, over all shards; 12 bytes are held for each translation of one language."""
    cuts = {}
    for target in settings.languages:
        parts = [_columns(_labels(settings, shard), target)[1:] for shard in range(shards)]
        scores, ranks = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        cuts[target] = pseudo.cut(scores, ranks, settings.quality)
    return cuts


def _write_kept(settings: PseudoLabel, shards: list[dict[str, Any]], cuts: dict[str, pseudo.Cut]) -> None:
    for shard in shards:
        kept: list[tuple[str, str, str]] = []
        labels = _labels(settings, shard["shard"])
        for target, cut in cuts.items():
            mine, scores, ranks = _columns(labels, target)
            chosen = mine.filter(pa.array(cut.keeps(scores, ranks)))
            kept += zip(chosen["utt_id"].to_pylist(), [target] * len(chosen), chosen["translation"].to_pylist(), strict=True)
        rows = pseudo.rows_with_translations(_read(settings, shard), kept)
        storage.write_parquet(storage.join(settings.output, f"part-{shard['shard']:06d}.parquet"), rows)


def _summarise(job: Job[PseudoLabel], shards: int, cuts: dict[str, pseudo.Cut]) -> None:
    """Every translation is kept, dropped or failed, and the counts say so."""
    folder = job.settings.output
    marks = [storage.read_json(storage.join(folder, _DONE, _mark(shard))) for shard in range(shards)]
    kept = 0
    for shard in range(shards):
        rows = storage.read_parquet(storage.join(folder, f"part-{shard:06d}.parquet"), ["translations"])
        kept += sum(len(each) for each in rows["translations"].to_pylist())
    translations, failed = sum(mark["translations"] for mark in marks), Counter[str]()
    for mark in marks:
        failed.update(mark["failed"])
    for reason, count in failed.most_common():
        print(f"  no translation {count}: {reason}")
    job.facts |= {"rows": sum(mark["rows"] for mark in marks), "translations": translations, "kept": kept}
    job.facts |= {"failed": sum(failed.values()), "dropped": translations - kept - sum(failed.values())}
    storage.write_json(storage.join(folder, "cuts.json"), {target: cut.score for target, cut in cuts.items()})
    job.tracker.log_artifact("cuts.json", json.dumps({target: cut.score for target, cut in cuts.items()}).encode())
