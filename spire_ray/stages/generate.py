"""Test set and models → answers.

By shards: one shard is one model's answers to its tasks about some rows, each written as it is done. A pool of actors works on
the shards, each with one model at a time; a resume asks what has no answers.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import hypotheses, test_set
from spire_ray.evaluation.tasks import TASKS, in_order
from spire_ray.evaluation.test_set import Row
from spire_ray.model import license
from spire_ray.runtime import cluster
from spire_ray.runtime.job import Job
from spire_ray.settings import EvaluatedModel, GenerateSettings, GenerationSettings
from spire_ray.stages.label import FINGERPRINT_FILE
from spire_ray.text import record
from spire_ray.text.languages import language
from spire_ray.units.fingerprint import Fingerprint

if TYPE_CHECKING:
    from spire_ray.evaluation.asking import Shard

ANSWERS_FILE = "hypotheses.json"


def plan(settings: GenerationSettings) -> Iterable[str]:
    """Models and tasks. Raises ValueError for what no model, or not this one, can be asked."""
    language(settings.target_language)
    if settings.source_language:
        language(settings.source_language)
    names = [model.name for model in settings.models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"models.{twice[0]}: two models of this name; each needs its own")
    for model in settings.models:
        if not model.name or "/" in model.name or not model.tasks:
            raise ValueError(f"models.{model.name}: needs a name without a slash and at least one task")
        said = record.load(model.model)
        if said and said.directions and model.format not in ("", said.form):
            raise ValueError(
                f"models.{model.name}.format={model.format}: {model.model} says that it is asked as {said.form}; leave it out"
            )
        form = model.format or (said.form if said else "")
        for task in in_order(model.tasks):
            if form and form not in TASKS[task].forms:
                forms = " or ".join(TASKS[task].forms)
                raise ValueError(f"models.{model.name}.tasks: {task} is asked in the form {forms}, and {model.model} in {form}")
    return _described(settings)


def _described(settings: GenerationSettings) -> Iterator[str]:
    sources = [settings.source_language] if settings.source_language else []
    if not sources and storage.exists(storage.first(settings.data)):
        rows = test_set.rows(settings)
        sources = sorted({row.language for row in rows})
        yield f"{len(rows)} rows in {', '.join(sources)}"
    for model in settings.models:
        yield f"{model.name}: {', '.join(model.tasks)}{_untrained(model, sources, settings.target_language)}"


def _untrained(model: EvaluatedModel, sources: Sequence[str], target: str) -> str:
    """Which of its tasks a model was not trained to do, in words; empty for none, and where nothing is known of it."""
    said = record.load(model.model)
    beyond = [
        task
        for task in model.tasks
        if said
        and said.directions
        and any(TASKS[task].direction.format(source=code, target=target) not in said.directions for code in sources)
    ]
    return f"; was not trained to do {', '.join(beyond)}" if beyond else ""


def run(job: Job[GenerateSettings]) -> None:
    """Ask, and write `hypotheses/` and `hypotheses.json`."""
    rows = checked(job.settings)
    generate(job, job.settings, rows)


def checked(settings: GenerationSettings) -> list[Row]:
    """The rows of the test set. Raises ValueError for what cannot be asked of them, before anything is."""
    rows = test_set.rows(settings)
    sources, target = sorted({row.language for row in rows}), language(settings.target_language).code
    for model in settings.models:
        if note := _untrained(model, sources, target):
            print(f"  {model.name}{note}")
        for task in model.tasks:
            lacking = [TASKS[task].lacks(row) for row in rows]
            if all(lacking):
                why = " and ".join(sorted(set(lacking))) + (f" into {target}" if "no translation" in lacking else "")
                raise ValueError(f"models.{model.name}.tasks: {task}: of {len(rows)} rows of {settings.data} each has {why}")
        license.check(model.model, settings.license.accept)
        _check_units(model, settings)
    return rows


def _check_units(model: EvaluatedModel, settings: GenerationSettings) -> None:
    """Raise ValueError for a model without unit tokens that is asked about speech, and for units that mean others to it."""
    speech = [task for task in in_order(model.tasks) if {"units", "another"} & set(TASKS[task].needs)]
    if not speech:
        return
    said = record.load(model.model)
    if said is None and not storage.exists(model.model):
        return  # on the Hub: known once it is here
    units = said.units if said else None
    if units is None:
        raise ValueError(f"models.{model.name}.tasks: {', '.join(speech)} need a model with unit tokens")
    made = Fingerprint.from_dict(storage.read_json(storage.join(settings.data, FINGERPRINT_FILE)))
    units.fingerprint.require(made, model.model, settings.data)


def generate(job: Job[Any], settings: GenerationSettings, rows: Sequence[Row]) -> None:
    """Every answer that is not there yet, in `hypotheses/`, and all of them in `hypotheses.json`."""
    from spire_ray.evaluation.asking import Shard

    size = settings.rows_per_shard
    shards = [Shard(number, tuple(rows[first : first + size])) for number, first in enumerate(range(0, len(rows), size))]
    tasks = {model.name: in_order(model.tasks) for model in settings.models}
    hypotheses.write_plan(settings.output, tasks, len(shards))
    done = {(name, task): hypotheses.done(settings.output, name, task) for name in tasks for task in tasks[name]}
    todo = [
        (model, shard)
        for model in settings.models
        for shard in shards
        if any(shard.number not in done[model.name, task] for task in tasks[model.name])
    ]
    if todo:
        _ask(job, settings, todo)
    answers = {name: {task: _texts(settings.output, name, task, shards) for task in tasks[name]} for name in tasks}
    written = {"rows": [_public(row) for row in rows], "answers": answers}
    storage.write_json(storage.join(settings.output, ANSWERS_FILE), written)
    job.tracker.log_artifact(ANSWERS_FILE, json.dumps(written, ensure_ascii=False, indent=1).encode())
    job.facts["rows"] = len(rows)


def _texts(folder: str, name: str, task: str, shards: Sequence["Shard"]) -> list[str | None]:
    return [row["hypothesis"] for shard in shards for row in hypotheses.read(folder, name, task, shard.number)]


def _ask(job: Job[Any], settings: GenerationSettings, todo: "list[tuple[EvaluatedModel, Shard]]") -> None:
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
        self._generator: Any = None

    def ask(self, model: EvaluatedModel, shard: "Shard") -> None:
        """See `spire_ray.evaluation.asking.ask`."""
        from spire_ray.evaluation import asking

        settings = self._settings
        if self._name != model.name:
            self._generator = None  # before another one is loaded
            self._generator, self._name = _loaded(model, settings), model.name
        target = language(settings.target_language).code
        form = model.format or None
        asking.ask(self._generator, model.name, model.tasks, form, target, shard, settings.output, settings.batch_size)


def _loaded(model: EvaluatedModel, settings: GenerationSettings) -> Any:
    import torch

    from spire_ray.core import references
    from spire_ray.inference.generate import HuggingFaceGenerator

    torch.set_num_threads(settings.threads)
    device = "cuda" if settings.gpus_per_worker else "cpu"
    folder = references.local_model(model.model, f"models.{model.name}.model")
    return HuggingFaceGenerator(folder, device=device, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)


def _public(row: Row) -> dict[str, Any]:
    kept = ("utt_id", "language", "text", "translation", "speaker", "duration")
    units = 0 if row.units is None else len(row.units)
    return {key: getattr(row, key) for key in kept} | {"units": units, "frames": row.frames}


STAGES.register("generate", Stage(GenerateSettings, plan, run, uses="Ray, transformers"))
