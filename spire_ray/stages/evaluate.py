"""WER, BLEU and chrF of models on a split.

One Ray actor for each model; scored in the driver.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from spire_ray.core import storage, tables
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest.schema import EVERY_SPLIT, LABELLED
from spire_ray.model import license
from spire_ray.runtime.job import Job
from spire_ray.settings import EvaluatedModel, EvaluateSettings
from spire_ray.stages.label import FINGERPRINT_FILE
from spire_ray.text import record
from spire_ray.units.fingerprint import Fingerprint

_READ = ["utt_id", "text", "translations", "speaker", "duration", "units", "durations"]
_SPEECH = {"asr", "asr_control", "st_direct", "st_multiturn", "st_cascade", "st_control"}


def plan(settings: EvaluateSettings) -> Iterable[str]:
    """Models and tasks. Raises ValueError for a model that is to be asked in another form than its folder says."""
    for model in settings.models:
        said = record.load(model.model)
        if said and said.directions and model.format not in ("", said.form):
            raise ValueError(
                f"models.{model.name}.format={model.format}: {model.model} says that it is asked as {said.form}; leave it out"
            )
    lines = [f"{model.name}: {', '.join(model.tasks)}{_untrained(model, settings)}" for model in settings.models]
    return (*lines, f"BLEU with the tokenizer {settings.bleu_tokenizer}")


def _untrained(model: EvaluatedModel, settings: EvaluateSettings) -> str:
    """Which of its tasks a model was not trained to do, in words; empty for none, and where nothing is known of it."""
    said = record.load(model.model)
    there = {"asr": "asr.en", "mt": f"mt.en-{settings.target_language}", "mt_reverse": f"mt.{settings.target_language}-en"}
    there |= {"st_cascade": there["mt"], "st_gold": there["mt"], "st_multiturn": f"turns.en-{settings.target_language}"}
    asked = {task: there.get(task.removesuffix("_control"), f"st.en-{settings.target_language}") for task in model.tasks}
    beyond = [task for task, direction in asked.items() if said and said.directions and direction not in said.directions]
    return f"; was not trained to do {', '.join(beyond)}" if beyond else ""


def run(job: Job[EvaluateSettings]) -> None:
    """Ask, score, write `results.json` and `hypotheses.json`."""
    import ray

    settings = job.settings
    for model in settings.models:
        if note := _untrained(model, settings):
            print(f"  {model.name}{note}")
        license.check(model.model, settings.license.accept)
    rows = _rows(settings)
    actor = ray.remote(num_cpus=settings.threads, num_gpus=settings.gpus_per_worker)(_Asker)
    fingerprint = storage.read_json(storage.join(settings.units, FINGERPRINT_FILE))
    asked: dict[Any, tuple[EvaluatedModel, str]] = {}
    todo = sum(len(model.tasks) for model in settings.models)
    for model in settings.models:
        asker = actor.remote(settings, model, rows, fingerprint)
        asked |= {asker.ask.remote(task): (model, task) for task in model.tasks}
    answers: dict[str, dict[str, list[str]]] = {}
    pending = list(asked)
    while pending:
        ready, pending = ray.wait(pending)
        model, task = asked[ready[0]]
        answers.setdefault(model.name, {})[task] = ray.get(ready[0])
        job.progress.update(todo - len(pending), todo, f"{todo - len(pending)}/{todo} tasks, last {model.name} {task}")
    results = _score(settings, rows, answers)
    samples = {"rows": [_public(row) for row in rows], "answers": answers}
    storage.write_json(storage.join(settings.output, "hypotheses.json"), samples)
    storage.write_json(storage.join(settings.output, "results.json"), results)
    job.tracker.log_artifact("hypotheses.json", json.dumps(samples, ensure_ascii=False, indent=1).encode())
    job.tracker.log_metrics({key: value for key, value in results.items() if isinstance(value, float)})
    job.facts |= {"rows": len(rows), **results}


class _Asker:
    """An actor: one model and the rows of the test set."""

    def __init__(
        self, settings: EvaluateSettings, model: EvaluatedModel, rows: list[dict[str, Any]], fingerprint: dict[str, Any]
    ) -> None:
        import torch

        from spire_ray.inference.generate import HuggingFaceGenerator
        from spire_ray.inference.tasks import Tasks

        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.gpus_per_worker else "cpu"
        generator = HuggingFaceGenerator(
            model.model, device=device, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )
        if units := generator.tokenizer.units:
            units.fingerprint.require(Fingerprint.from_dict(fingerprint), model.model, settings.units)
        elif speech := _SPEECH & set(model.tasks):
            raise ValueError(f"models.{model.name}.tasks: {', '.join(sorted(speech))} need a model with unit tokens")
        self._tasks = Tasks(generator, model.format or None)
        self._source, self._target = "en", settings.target_language
        self._units = [np.asarray(row["units"], np.uint16) for row in rows]
        self._text = [row["text"] for row in rows]
        self._translation = [row["translation"] for row in rows]
        self._transcripts: list[str] | None = None

    def ask(self, task: str) -> list[str]:
        """Answers to one task, in the order of the rows."""
        tasks, source, target = self._tasks, self._source, self._target
        others = [*self._units[1:], *self._units[:1]]
        match task:
            case "asr":
                return self._transcribed()
            case "asr_control":
                return tasks.transcribe(others)
            case "mt" | "st_gold":
                return tasks.translate_text(self._text, source, target)
            case "mt_reverse":
                return tasks.translate_text(self._translation, target, source, form="cpt")
            case "st_direct":
                return tasks.translate_speech(self._units, target)
            case "st_control":
                return tasks.translate_speech(others, target)
            case "st_multiturn":
                return tasks.translate_in_turns(self._units, self._transcribed(), source, target)
            case "st_cascade":
                return tasks.translate_text(self._transcribed(), source, target)
        raise ValueError(f"task {task!r} is unknown")

    def _transcribed(self) -> list[str]:
        if self._transcripts is None:
            self._transcripts = self._tasks.transcribe(self._units)
        return self._transcripts


def _rows(settings: EvaluateSettings) -> list[dict[str, Any]]:
    """Labelled rows of the split, in the order of their ids; of the others nothing is kept."""
    of_split = [] if settings.split == EVERY_SPLIT else [("split", "=", settings.split)]
    table = tables.read(settings.units, _READ, [*of_split, ("status", "=", LABELLED)])
    chosen = table.sort_by("utt_id").slice(0, settings.utterances or None)
    rows = [
        {**row, "translation": dict(row["translations"] or ()).get(settings.target_language, "")} for row in chosen.to_pylist()
    ]
    if len(rows) < 2:
        raise ValueError(f"split={settings.split}: {settings.units} has {len(rows)} labelled rows of it; 2 are needed")
    return rows


def _score(settings: EvaluateSettings, rows: list[dict[str, Any]], answers: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
    from spire_ray.evaluation.asr import wer
    from spire_ray.evaluation.translation import score

    text, translation = [row["text"] for row in rows], [row["translation"] for row in rows]
    results: dict[str, Any] = {}
    for model, tasks in answers.items():
        for task, hypotheses in tasks.items():
            key = f"{model}.{task}"
            if task.startswith("asr"):
                results[f"{key}.wer"] = wer(hypotheses, text)
                continue
            scored = score(hypotheses, text if task == "mt_reverse" else translation, settings.bleu_tokenizer)
            results |= {f"{key}.bleu": scored.bleu, f"{key}.chrf": scored.chrf}
            results["signature"] = scored.signature
    shuffled = [*translation[1:], *translation[:1]]
    results["shuffled_references.bleu"] = score(shuffled, translation, settings.bleu_tokenizer).bleu
    return results


def _public(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("utt_id", "text", "translation", "speaker", "duration")}
    return kept | {"units": len(row["units"]), "frames": int(sum(row["durations"]))}


STAGES.register("evaluate", Stage(EvaluateSettings, plan, run, uses="jiwer, sacrebleu"))
