"""Figures of models on a test set: `generate`, then `score`."""

from collections.abc import Iterable

from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import protocols
from spire_ray.evaluation.tasks import TASKS
from spire_ray.runtime.job import Job
from spire_ray.settings import EvaluateSettings
from spire_ray.stages import generate, score
from spire_ray.text.languages import language


def plan(settings: EvaluateSettings) -> Iterable[str]:
    """Those of both stages."""
    metrics = score.plan(protocols.resolved(settings))
    asked = generate.plan(settings)
    return (line for lines in (asked, metrics) for line in lines)


def run(job: Job[EvaluateSettings]) -> None:
    """Ask, then score; what the metrics need is asked for first."""
    from spire_ray.evaluation import checks, scoring

    settings = protocols.resolved(job.settings)
    rows = checks.rows(settings)
    target = language(settings.target_language).code
    tasks = dict.fromkeys(task for model in settings.models for task in model.tasks)
    sources = dict.fromkeys(row.language for row in rows)
    into = {task: (target,) if TASKS[task].reference == "translation" else sources for task in tasks}
    scoring.check(settings, [(task, code) for task in tasks for code in into[task]])
    score.licenses(settings)
    generate.generate(job, settings, rows)
    score.score(job, settings, settings.output)


def grown(settings: EvaluateSettings) -> bool:
    """Whether other figures are wanted of the same answers."""
    return generate.grown(settings) or score.grown(settings)


STAGES.register("evaluate", Stage(EvaluateSettings, plan, run, uses="jiwer, sacrebleu, unbabel-comet", grown=grown))
