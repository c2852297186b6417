"""Test set and systems → answers.

By shards: one shard is one model's answers to its tasks about some rows, each written as it is done. A pool of actors works on
the shards, each with one model at a time; a resume asks what has no answers.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import checks, hypotheses, protocols, test_set
from spire_ray.evaluation.asking import tasks_of
from spire_ray.evaluation.test_set import Row
from spire_ray.runtime import cluster
from spire_ray.runtime.job import Job
from spire_ray.settings import EvaluatedModel, GenerateSettings, GenerationSettings
from spire_ray.text.languages import language

if TYPE_CHECKING:
    from spire_ray.evaluation.asking import Shard

ANSWERS_FILE = "hypotheses.json"
Work = Sequence[tuple[EvaluatedModel, "Shard"]]


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
    """Never. Raises ValueError for a finished folder whose answers are about other rows than there are now."""
    settings = protocols.resolved(settings)
    hypotheses.require_rows(settings.output, test_set.digest(checks.read(settings)))
    return False


def generate(job: Job[Any], settings: GenerationSettings, rows: Sequence[Row]) -> None:
    """Every answer that is not there yet, in `hypotheses/`, and all of them in `hypotheses.json`."""
    from spire_ray.evaluation.asking import Shard

    size = settings.rows_per_shard
    shards = [Shard(number, tuple(rows[first : first + size])) for number, first in enumerate(range(0, len(rows), size))]
    tasks = {model.name: tasks_of(model) for model in settings.models}
    about = {"protocol": settings.protocol, "test_set": settings.test_set or settings.data.rstrip("/").rpartition("/")[2]}
    hypotheses.begin(settings.output, tasks, len(shards), test_set.digest(rows), **about)
    done = {(name, task): hypotheses.done(settings.output, name, task) for name in tasks for task in tasks[name]}
    todo = [
        (model, shard)
        for model in settings.models
        for shard in shards
        if any(shard.number not in done[model.name, task] for task in tasks[model.name])
    ]
    # what translates the transcripts of others waits for them
    for work in ([each for each in todo if not each[0].transcripts], [each for each in todo if each[0].transcripts]):
        if work:
            _ask(job, settings, work)
    answers = {name: {task: _texts(settings.output, name, task, shards) for task in tasks[name]} for name in tasks}
    written = {"rows": [_public(row) for row in rows], "answers": answers}
    storage.write_json(storage.join(settings.output, ANSWERS_FILE), written)
    job.tracker.log_artifact(ANSWERS_FILE, json.dumps(written, ensure_ascii=False, indent=1).encode())
    job.facts["rows"] = len(rows)


def _texts(folder: str, name: str, task: str, shards: Sequence["Shard"]) -> list[str | None]:
    return [row["hypothesis"] for shard in shards for row in hypotheses.read(folder, name, task, shard.number)]


def _ask(job: Job[Any], settings: GenerationSettings, todo: Work) -> None:
    """Give the actors work until there is none."""
    import ray

    workers = min(settings.workers, len(todo))
    cluster.require("workers", workers, settings.threads, settings.gpus_per_worker, wait_minutes=settings.wait_minutes)
    actor = ray.remote(num_cpus=settings.threads, num_gpus=settings.gpus_per_worker)(_Worker)
    idle = [actor.remote(settings) for _ in range(workers)]
    waiting, busy = list(todo), dict[Any, tuple[Any, EvaluatedModel]]()
    while waiting or busy:
        while waiting and idle:
            worker, (model, shard) = idle.pop(), waiting.pop(0)
            busy[worker.ask.remote(model, shard)] = worker, model
        ready, _ = ray.wait(list(busy))
        worker, model = busy.pop(ready[0])
        ray.get(ready[0])
        idle.append(worker)
        done = len(todo) - len(waiting) - len(busy)
        job.progress.update(done, len(todo), f"{done}/{len(todo)} shards asked, last of {model.name}")


class _Worker:
    """A Ray actor: a model and a shard → files of answers. It keeps the model until it is given another."""

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._name = ""
        self._system: Any = None

    def ask(self, model: EvaluatedModel, shard: "Shard") -> None:
        """See `spire_ray.evaluation.asking.ask`."""
        from spire_ray.evaluation import asking

        settings = self._settings
        if self._name != model.name:
            self._system = None  # before another one is loaded
            self._system, self._name = _loaded(model, settings), model.name
        asking.ask(self._system, model, language(settings.target_language).code, shard, settings.output)


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
