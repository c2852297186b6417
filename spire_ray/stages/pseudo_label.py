"""Transcripts → translations, filtered by quality estimation.

By shards, like label.
An actor translates a shard with continuous batching, has it scored, writes `labels/part-….parquet` and marks it done. When
all are, the cut of each language is found, and `part-….parquet` gets the rows with the translations that are kept. Kept and
dropped translations both stay in `labels/`, with their scores. A folder that has grown is gone on with.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from spire_ray.core import copies, storage
from spire_ray.core.provenance import licenses_of
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import comet
from spire_ray.pseudo_labels import labels, pseudo
from spire_ray.pseudo_labels.pseudo import Cut
from spire_ray.pseudo_labels.scores import Scorer
from spire_ray.runtime import nodes, pool
from spire_ray.runtime.job import Job
from spire_ray.settings import PseudoLabelSettings
from spire_ray.shards import account, marks, planning
from spire_ray.shards.marks import Translations
from spire_ray.shards.shard import Shard
from spire_ray.text.languages import language
from spire_ray.training.budget import Shape
from spire_ray.units.fingerprint import FINGERPRINT_FILE

_AT_ONCE = 256
"""Translations that one worker writes at the same time."""


def plan(settings: PseudoLabelSettings) -> Iterable[str]:
    """Translations, and what they may cost."""
    for code in (*settings.languages, *filter(None, (settings.source_language,))):
        language(code)
    if not settings.languages or len(set(settings.languages)) < len(settings.languages):
        raise ValueError(f"languages={list(settings.languages)}: name each target language once")
    if settings.rows_per_shard < 1:
        raise ValueError(f"rows_per_shard={settings.rows_per_shard}: must be above 0")
    quality = settings.quality
    if bool(settings.model) == bool(settings.candidates):
        raise ValueError("model, candidates: give a model that translates, or the runs whose translations compete")
    if settings.candidates and quality.model:
        raise ValueError("quality.model: candidates are scored already; name the scores beside them")
    labels.check_scores(settings)
    if quality.model and not quality.python:
        raise ValueError("quality.python: name the interpreter of the environment that holds unbabel-comet")
    return _described(settings)


def _described(settings: PseudoLabelSettings) -> Iterator[str]:
    quality = settings.quality
    scored = quality.model or settings.candidates
    least = {**({"score": quality.threshold} if scored else {}), **quality.minimum}
    kept = f"kept from {', '.join(f'{name} {value:g}' for name, value in least.items())}" if least else "not scored, all kept"
    most = f", {quality.choice} {quality.top_k} of each language" if quality.top_k else ""
    yield f"into {', '.join(settings.languages)}; {kept}{most}"
    shards = labels.planned(settings) if storage.exists(settings.data) else []
    rows = sum(shard.rows for shard in shards) or round(settings.expected.rows)
    if not rows:
        yield "translations and GPU-hours: unknown until the data is there; expected.rows may say how many rows it will have"
        return
    translations = rows * len(settings.languages)
    source = "" if shards else " expected"
    yield f"{rows} rows{source}, up to {translations} translations in shards of {settings.rows_per_shard} rows"
    if settings.candidates:
        yield f"the better of {len(settings.candidates)} systems by {quality.by}; nothing is translated"
        return
    shape = next((path for path in _shapes(settings) if storage.exists(path)), None)
    if shape is None:
        yield "GPU-hours: unknown until the model is there; expected.shape may name a config.json of its shape"
        return
    size = Shape.read(storage.read_json(shape)).parameters
    hours = pseudo.gpu_hours(translations, size)
    yield f"{size / 1e9:.2f} B parameters: about {hours:.3g} H200-hours at 30 % of the matrix rate (not measured)"


def _shapes(settings: PseudoLabelSettings) -> list[str]:
    return [storage.join(settings.model, "config.json"), *([settings.expected.shape] if settings.expected.shape else [])]


def _grown(settings: PseudoLabelSettings) -> bool:
    return labels.planned(settings) != planning.read(settings.output)


def run(job: Job[PseudoLabelSettings]) -> None:
    """Translate every shard that is not done, then keep the best."""
    from spire_ray.model import license

    settings = job.settings
    job.facts["licenses"] = {
        model: license.check(model, settings.license.accept) for model in (settings.model, settings.quality.model) if model
    }
    for given in settings.candidates:
        job.facts["licenses"] |= licenses_of(given.labels)
    shards = labels.planned(settings)
    labels.check_candidates(settings, shards)
    planning.write(settings.output, shards)
    todo = [asdict(shard) for shard in account.unfinished(shards, marks.by_shard(settings.output, Translations))]
    if todo:
        translated = pool.results(ChooseShard if settings.candidates else TranslateShard, settings, todo)
        for count, _ in enumerate(translated, len(shards) - len(todo) + 1):
            job.progress.update(count, len(shards), f"{count}/{len(shards)} shards translated")
    cuts = labels.cuts(settings, shards)
    kept = labels.write_kept(settings, shards, cuts)
    fingerprint = storage.join(settings.data, FINGERPRINT_FILE)
    if storage.exists(fingerprint):
        storage.write_bytes(storage.join(settings.output, FINGERPRINT_FILE), storage.read_bytes(fingerprint))
    _summarise(job, cuts, kept)


class TranslateShard:
    """A Ray Data actor: the transcripts of a shard → its file of translations with scores, and its mark."""

    def __init__(self, settings: PseudoLabelSettings, deaths: Any = None) -> None:
        import torch

        from spire_ray.inference.generate import EngineGenerator

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        self._generator = EngineGenerator.from_pretrained(
            settings.model, "transformers", device=device, max_new_tokens=settings.max_new_tokens, batch_size=_AT_ONCE
        )
        self._settings, self._deaths, self._scorer = settings, deaths, Scorer(settings.quality.scores)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a shard of the plan. Out: its number."""
        shard = Shard.of(batch.to_pylist()[0])
        with nodes.counted(self._deaths, f"shard {shard.shard}"):
            self._make(shard)
        return pa.table({"shard": [shard.shard]})

    def _make(self, shard: Shard) -> None:
        rows = labels.rows(shard, self._settings.split, self._settings.source_language).to_pylist()
        made = [_label(rows[request.row], request) for request in pseudo.requests(rows, self._settings.languages)]
        self._translate([label for label in made if not label["error"]])
        self._score([label for label in made if label["translation"]])
        self._scorer.add(made)
        labels.write(self._settings.output, shard.shard, made, _counts(made, len(rows), shard))

    def _translate(self, wanted: list[dict[str, Any]]) -> None:
        from spire_ray.inference.tasks import written

        tokenizer, most = self._generator.tokenizer, self._generator.longest_prompt
        asked = [written(tokenizer, str(w["text"]), str(w["language"]), str(w["target_language"])) for w in wanted]
        fitting = []
        for label, prompt, encoded in zip(wanted, asked, tokenizer.attempt(asked), strict=True):
            if isinstance(encoded, ValueError):
                label["error"] = str(encoded)
            elif (length := len(tokenizer.begin(encoded[0], prompt))) > most:
                label["error"] = f"prompt too long: {length} tokens of {most}"
            else:
                fitting.append((label, prompt))
        for (label, _), answer in zip(fitting, self._generator([prompt for _, prompt in fitting]), strict=True):
            label["translation"] = answer or None
            label["system"] = self._settings.model
            label["error"] = None if answer else "empty translation"

    def _score(self, wanted: list[dict[str, Any]]) -> None:
        quality = self._settings.quality
        if not quality.model:
            return
        rows = [{"src": str(label["text"]), "mt": str(label["translation"])} for label in wanted]
        gpus = int(bool(self._settings.gpus_per_worker))
        scores = comet.scores(rows, copies.localize(quality.model), quality.python, batch_size=quality.batch_size, gpus=gpus)
        for label, score in zip(wanted, scores, strict=True):
            label["score"] = score


class ChooseShard:
    """A Ray Data actor: the translations of a shard by several systems → its file of the best, and its mark."""

    def __init__(self, settings: PseudoLabelSettings, deaths: Any = None) -> None:
        self._settings, self._deaths, self._scorer = settings, deaths, Scorer(settings.quality.scores)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a shard of the plan. Out: its number."""
        shard = Shard.of(batch.to_pylist()[0])
        with nodes.counted(self._deaths, f"shard {shard.shard}"):
            self._choose(shard)
        return pa.table({"shard": [shard.shard]})

    def _choose(self, shard: Shard) -> None:
        settings, number = self._settings, shard.shard
        candidates = [labels.candidate(given, number) for given in settings.candidates]
        for labelled in candidates:
            self._scorer.add(labelled)
        wanted = {"", *settings.languages}
        made = [dict(each) for each in pseudo.better(candidates, settings.quality.by) if each["target_language"] in wanted]
        rows = marks.one(settings.candidates[0].labels, number, Translations).rows
        labels.write(settings.output, number, made, _counts(made, rows, shard))


def _counts(made: list[dict[str, Any]], rows: int, shard: Shard) -> Translations:
    failed = account.by_reason(label["error"] for label in made)
    return Translations(rows=rows, rejected=failed, translations=len(made), digest=shard.digest, carried=shard.carried)


def _label(row: dict[str, Any], request: pseudo.Request) -> dict[str, Any]:
    kept = {key: row.get(key) for key in ("utt_id", "language", "text")}
    return {
        **kept,
        "target_language": request.target,
        "translation": None,
        "score": None,
        "scores": (),
        "system": None,
        "error": request.error or None,
    }


def _summarise(job: Job[PseudoLabelSettings], cuts: dict[str, Cut], kept: int) -> None:
    """Every translation is kept, dropped or failed, and the counts say so."""
    folder = job.settings.output
    total = marks.total(marks.read(folder, Translations), Translations)
    if not total.rows:
        raise ValueError(f"split={job.settings.split}: {job.settings.data} has no labelled rows of that split")
    for line in account.lines(total.rejected):
        print(f"  no translation, {line}")
    failed = sum(total.rejected.values())
    job.content = marks.content(folder, Translations)
    job.facts |= {"rows": total.rows, "translations": total.translations, "kept": kept, "failed": failed}
    job.facts["dropped"] = total.translations - kept - failed
    where = {target: cut.score if math.isfinite(cut.score) else None for target, cut in cuts.items()}  # null: nowhere
    storage.write_json(storage.join(folder, "cuts.json"), where)
    job.tracker.log_artifact("cuts.json", json.dumps(where).encode())


STAGES.register("pseudo_label", Stage(PseudoLabelSettings, plan, run, uses="Ray Data, COMETKiwi", grown=_grown))
