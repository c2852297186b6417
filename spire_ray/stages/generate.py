"""Test set and systems → answers.

By shards, like label: one shard is one model's answers to its tasks about some rows, each written and marked as it is done.
A pool of actors works on the shards, each with one model at a time; a resume plans what has no mark. A test set that has grown
is gone on with, and shards whose rows have changed are asked about again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import checks, hypotheses, planned, protocols, test_set
from spire_ray.evaluation.asking import tasks_of
from spire_ray.evaluation.tasks import TASKS
from spire_ray.evaluation.test_set import Row
from spire_ray.runtime import nodes
from spire_ray.runtime.job import Job
from spire_ray.settings import EvaluatedModel, GenerateSettings, GenerationSettings
from spire_ray.shards import account, planning
from spire_ray.shards.shard import Shard
from spire_ray.text.languages import language

_COUNTED = ("prompt_tokens", "reused_tokens")
ANSWERS_FILE = "hypotheses.json"


def plan(settings: GenerationSettings) -> Iterable[str]:
    """Systems and tasks. Raises ValueError for what no model, or not this one, can be asked."""
    settings = protocols.resolved(settings)
    checks.models(settings)
    return _described(settings)


def _described(settings: GenerationSettings) -> Iterator[str]:
    sources = [settings.source_language] if settings.source_language else []
    if not sources and storage.exists(storage.first(settings.data)):
        rows = test_set.rows(settings)
        sources = sorted({row.language for row in rows})
        yield f"{len(rows)} rows in {', '.join(sources)}"
    for model in settings.models:
        beyond = checks.untrained(model, sources, settings.target_language)
        yield f"{model.name}: {', '.join(model.tasks)}{beyond}"


def run(job: Job[GenerateSettings]) -> None:
    """Ask, and write `hypotheses/` and `hypotheses.json`."""
    settings = protocols.resolved(job.settings)
    generate(job, settings, checks.rows(settings))


def grown(settings: GenerationSettings) -> bool:
    """Whether rows have come or changed, or some are to be asked about again."""
    settings = protocols.resolved(settings)
    _, shards = planned.plan(settings.output, checks.read(settings), settings.rows_per_shard)
    return shards != planning.read(settings.output) or bool(_todo(settings, shards))


def generate(job: Job[Any], settings: GenerationSettings, rows: Sequence[Row]) -> None:
    """Every answer that is not there yet, in `hypotheses/`, and all of them in `hypotheses.json`."""
    tasks = {model.name: tasks_of(model) for model in settings.models}
    rows, shards = planned.plan(settings.output, rows, settings.rows_per_shard)
    todo = _todo(settings, shards)
    planned.write(settings.output, rows, shards)
    about = {"protocol": settings.protocol, "test_set": settings.test_set or settings.data.rstrip("/").rpartition("/")[2]}
    hypotheses.begin(settings.output, tasks, **about)
    translating = {model.name for model in settings.models if model.transcripts}
    # what translates the transcripts of others waits for them
    for work in ([each for each in todo if (each["model"] in translating) is later] for later in (False, True)):
        if work:
            _ask(job, settings, work)
    answers = {name: {task: _texts(settings.output, name, task, shards) for task in tasks[name]} for name in tasks}
    written = {"rows": [_public(row) for row in rows], "answers": answers}
    storage.write_json(storage.join(settings.output, ANSWERS_FILE), written)
    job.tracker.log_artifact(ANSWERS_FILE, json.dumps(written, ensure_ascii=False, indent=1).encode())
    job.facts["rows"] = len(rows)
    job.content = hypotheses.content(settings.output)


def _todo(settings: GenerationSettings, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Rows of the plan with the model that is to be asked about them, and the tasks; model by model."""
    tasks = {model.name: tasks_of(model) for model in settings.models}
    account.check_retry(settings.retry, hypotheses.reasons(settings.output, tasks))
    found: dict[tuple[str, int], list[str]] = {}
    remade: set[tuple[str, str, int]] = set()
    for model in sorted(settings.models, key=lambda model: bool(model.transcripts)):
        for task in tasks[model.name]:
            missing = hypotheses.todo(settings.output, model.name, task, shards, settings.retry)
            maker = model.transcripts or model.name
            follows = {number for name, before, number in remade if (name, before) == (maker, TASKS[task].after)}
            for number in missing | follows:
                found.setdefault((model.name, number), []).append(task)
                remade.add((model.name, task, number))
    by_number = {shard.shard: asdict(shard) for shard in shards}
    return [by_number[number] | {"model": name, "tasks": tasks} for (name, number), tasks in found.items()]


def _texts(folder: str, name: str, task: str, shards: Sequence[Shard]) -> list[str | None]:
    return [row["hypothesis"] for shard in shards for row in hypotheses.read(folder, name, task, shard.shard)]


def _ask(job: Job[Any], settings: GenerationSettings, todo: list[dict[str, Any]]) -> None:
    from spire_ray.runtime import pool

    for done, asked in enumerate(pool.results(AskShard, settings, todo), 1):
        for name in (name for name in _COUNTED if asked[name]):
            job.facts[name] = job.facts.get(name, 0) + asked[name]
        job.progress.update(done, len(todo), f"{done}/{len(todo)} shards asked, last of {asked['model']}")


class AskShard:
    """A Ray Data actor: a shard and a model → files of answers with their marks. It keeps the model until it is given another."""

    def __init__(self, settings: GenerationSettings, deaths: Any = None) -> None:
        self._settings, self._deaths = settings, deaths
        self._models = {model.name: model for model in settings.models}
        self._name = ""
        self._system: Any = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a shard of the plan, a model and tasks. Out: their names and what was read. See `evaluation.asking.ask`."""
        from spire_ray.evaluation import asking

        row, settings = batch.to_pylist()[0], self._settings
        shard, model = Shard.of(row), self._models[row["model"]]
        with nodes.counted(self._deaths, f"shard {shard.shard} of {model.name}"):
            if self._name != model.name:
                self._system = None  # before another one is loaded
                self._system, self._name = _loaded(model, settings), model.name
            before = _counts(self._system)
            asking.ask(self._system, model, row["tasks"], language(settings.target_language).code, shard, settings.output)
            counts = {name: [count - before[name]] for name, count in _counts(self._system).items()}
        return pa.table({"shard": [shard.shard], "model": [model.name], **counts})


def _counts(system: Any) -> dict[str, int]:
    """Tokens of prompts so far, and of those the ones whose state was shared; of systems that do not say, none."""
    return {name: int(getattr(getattr(system, "stats", None), name, 0)) for name in _COUNTED}


def _loaded(model: EvaluatedModel, settings: GenerationSettings) -> Any:
    import torch

    from spire_ray.evaluation.systems import SYSTEMS

    torch.set_num_threads(settings.threads)
    return SYSTEMS[model.system].load(model, settings)


def _public(row: Row) -> dict[str, Any]:
    kept = ("utt_id", "language", "text", "translation", "speaker", "duration")
    units = 0 if row.units is None else len(row.units)
    return {key: getattr(row, key) for key in kept} | {"units": units, "frames": row.frames}


STAGES.register("generate", Stage(GenerateSettings, plan, run, uses="Ray, transformers", grown=grown))
