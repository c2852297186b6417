"""Transcripts → translations, filtered by quality estimation.

By shards, like label.
An actor translates a shard with continuous batching, has it scored, writes `labels/part-….parquet` and marks it done. When
all are, the cut of each language is found, and `part-….parquet` gets the rows with the translations that are kept. Kept and
dropped translations both stay in `labels/`, with their scores. A folder that has grown is gone on with.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import comet
from spire_ray.pseudo_labels import labels, pseudo
from spire_ray.pseudo_labels.pseudo import Cut, Shard
from spire_ray.runtime import cluster
from spire_ray.runtime.job import Job
from spire_ray.settings import PseudoLabelSettings
from spire_ray.stages.label import FINGERPRINT_FILE
from spire_ray.text.languages import language


def plan(settings: PseudoLabelSettings) -> Iterable[str]:
    """Translations, and what they may cost."""
    for code in settings.languages:
        language(code)
    if not settings.languages or len(set(settings.languages)) < len(settings.languages):
        raise ValueError(f"languages={list(settings.languages)}: name each target language once")
    if settings.rows_per_shard < 1:
        raise ValueError(f"rows_per_shard={settings.rows_per_shard}: must be above 0")
    quality = settings.quality
    if quality.model and not quality.python:
        raise ValueError("quality.python: name the interpreter of the environment that holds unbabel-comet")
    return _described(settings)


def _described(settings: PseudoLabelSettings) -> Iterator[str]:
    quality = settings.quality
    best = f", the best {quality.top_k} of each language" if quality.top_k else ""
    kept = f"kept from {quality.threshold:g} in {quality.model}{best}" if quality.model else "not scored, all kept"
    yield f"into {', '.join(settings.languages)}; {kept}"
    shards = labels.planned(settings) if storage.exists(settings.data) else []
    rows = sum(shard.rows for shard in shards) or round(settings.expected.rows)
    if not rows:
        yield "translations and GPU-hours: unknown until the data is there; expected.rows may say how many rows it will have"
        return
    translations = rows * len(settings.languages)
    source = "" if shards else " expected"
    yield f"{rows} rows{source}, up to {translations} translations in shards of {settings.rows_per_shard} rows"
    shape = next((path for path in _shapes(settings) if storage.exists(path)), None)
    if shape is None:
        yield "GPU-hours: unknown until the model is there; expected.shape may name a config.json of its shape"
        return
    size = pseudo.parameters(storage.read_json(shape))
    hours = pseudo.gpu_hours(translations, size)
    yield f"{size / 1e9:.2f} B parameters: about {hours:.3g} H200-hours at 30 % of the matrix rate (not measured)"


def _shapes(settings: PseudoLabelSettings) -> list[str]:
    return [storage.join(settings.model, "config.json"), *([settings.expected.shape] if settings.expected.shape else [])]


def _grown(settings: PseudoLabelSettings) -> bool:
    return labels.planned(settings) != labels.plan(settings.output)


def run(job: Job[PseudoLabelSettings]) -> None:
    """Translate every shard that is not done, then keep the best."""
    from spire_ray.model import license

    settings = job.settings
    job.facts["licenses"] = {
        model: license.check(local, settings.license.accept)
        for model in (settings.model, settings.quality.model)
        if model and os.path.isdir(local := storage.localize(model))
    }
    shards = labels.planned(settings)
    labels.write_plan(settings.output, shards)
    done = labels.done(settings.output)
    todo = [asdict(shard) for shard in shards if shard.shard not in done]
    if todo:
        translated = cluster.blocks(todo).map_batches(
            TranslateShard,
            fn_constructor_args=(settings,),
            batch_size=1,
            num_cpus=settings.threads,
            num_gpus=settings.gpus_per_worker,
            compute=cluster.actors(settings.workers, len(todo), settings.threads, settings.gpus_per_worker),
        )
        for count, _ in enumerate(translated.iter_rows(), len(shards) - len(todo) + 1):
            job.progress.update(count, len(shards), f"{count}/{len(shards)} shards translated")
    cuts = labels.cuts(settings, shards)
    kept = labels.write_kept(settings, shards, cuts)
    fingerprint = storage.join(settings.data, FINGERPRINT_FILE)
    if storage.exists(fingerprint):
        storage.write_bytes(storage.join(settings.output, FINGERPRINT_FILE), storage.read_bytes(fingerprint))
    _summarise(job, shards, cuts, kept)


class TranslateShard:
    """A Ray Data actor: the transcripts of a shard → its file of translations with scores, and its mark."""

    def __init__(self, settings: PseudoLabelSettings) -> None:
        import torch

        from spire_ray.inference.continuous import ContinuousGenerator
        from spire_ray.inference.tasks import Tasks

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        self._generator = ContinuousGenerator(settings.model, device=device, max_new_tokens=settings.max_new_tokens)
        self._tasks = Tasks(self._generator, "it")
        self._settings = settings

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """In: a shard of the plan. Out: its number."""
        number, first, count = (int(batch[name][0]) for name in ("shard", "first", "rows"))
        shard = Shard(number, str(batch["file"][0]), first, count)
        rows = labels.rows(shard, self._settings.split).to_pylist()
        made = [_label(rows[request.row], request) for request in pseudo.requests(rows, self._settings.languages)]
        self._translate([label for label in made if not label["error"]])
        self._score([label for label in made if label["translation"]])
        failed = Counter(str(label["error"]).partition(": ")[0] for label in made if label["error"])
        counts = {"rows": len(rows), "translations": len(made), "failed": dict(failed)}
        labels.write(self._settings.output, shard.shard, made, counts)
        return {"shard": [shard.shard]}

    def _translate(self, wanted: list[dict[str, Any]]) -> None:
        asked = [self._tasks.translation(str(w["text"]), str(w["language"]), str(w["target_language"])) for w in wanted]
        lengths, most = self._generator.lengths(asked), self._generator.longest_prompt
        fitting = [place for place, length in enumerate(lengths) if length <= most]
        answers = dict(zip(fitting, self._generator([asked[place] for place in fitting]), strict=True))
        for place, label in enumerate(wanted):
            if place not in answers:
                label["error"] = f"prompt too long: {lengths[place]} tokens of {most}"
            elif answers[place]:
                label["translation"] = answers[place]
            else:
                label["error"] = "empty translation"

    def _score(self, wanted: list[dict[str, Any]]) -> None:
        quality = self._settings.quality
        if not quality.model:
            return
        rows = [{"src": str(label["text"]), "mt": str(label["translation"])} for label in wanted]
        gpus = int(bool(self._settings.gpus_per_worker))
        scores = comet.scores(rows, storage.localize(quality.model), quality.python, batch_size=quality.batch_size, gpus=gpus)
        for label, score in zip(wanted, scores, strict=True):
            label["score"] = score


def _label(row: dict[str, Any], request: pseudo.Request) -> dict[str, Any]:
    kept = {key: row.get(key) for key in ("utt_id", "language", "text")}
    return {**kept, "target_language": request.target, "translation": None, "score": None, "error": request.error or None}


def _summarise(job: Job[PseudoLabelSettings], shards: Sequence[Shard], cuts: dict[str, Cut], kept: int) -> None:
    """Every translation is kept, dropped or failed, and the counts say so."""
    folder = job.settings.output
    counts = [labels.counts(folder, shard.shard) for shard in shards]
    if not sum(count["rows"] for count in counts):
        raise ValueError(f"split={job.settings.split}: {job.settings.data} has no labelled rows of that split")
    translations, failed = sum(count["translations"] for count in counts), Counter[str]()
    for count in counts:
        failed.update(count["failed"])
    for reason, number in failed.most_common():
        print(f"  no translation {number}: {reason}")
    job.facts |= {"rows": sum(count["rows"] for count in counts), "translations": translations, "kept": kept}
    job.facts |= {"failed": sum(failed.values()), "dropped": translations - kept - sum(failed.values())}
    storage.write_json(storage.join(folder, "cuts.json"), {target: cut.score for target, cut in cuts.items()})
    job.tracker.log_artifact("cuts.json", json.dumps({target: cut.score for target, cut in cuts.items()}).encode())


STAGES.register("pseudo_label", Stage(PseudoLabelSettings, plan, run, uses="Ray Data, COMETKiwi", grown=_grown))
