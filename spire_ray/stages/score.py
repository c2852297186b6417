"""Answers → error rates, BLEU, chrF, COMET, with intervals and comparisons.

Reads answers alone, never a model: other metrics in the same folder are a matter of seconds.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.evaluation import hypotheses, protocols
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.tasks import TASKS
from spire_ray.runtime.job import Job
from spire_ray.settings import ScoreSettings, ScoringSettings

_DECIDING = ("metrics", "bleu_tokenizer", "spbleu_model", "bootstrap", "seed", "comet")


def plan(settings: ScoringSettings) -> Iterable[str]:
    """Metrics. Raises ValueError for an unknown one."""
    kinds = [METRICS[name].title for name in settings.metrics]
    return (f"metrics: {', '.join(kinds) or 'those of each task'}, intervals by {settings.bootstrap} samples",)


def run(job: Job[ScoreSettings]) -> None:
    """Score, and write `results.json`, `results.md` and `scores/`."""
    score(job, job.settings, job.settings.hypotheses)


def score(job: Job[Any], settings: ScoringSettings, folder: str) -> None:
    """Score the answers of a folder into that of the job."""
    from spire_ray.evaluation import comparing, results, scoring

    settings = _under_protocol(settings, folder)
    licenses(settings)
    figures: list[scoring.Figure] = []
    rows: list[scoring.Rows] = []
    baselines: dict[str, float] = {}
    for model, task, answers in hypotheses.everything(folder):
        found, counted = scoring.figures(settings, model, task, answers)
        results.by_row(settings.output, model, task, answers, found)
        figures, rows = [*figures, *found], [*rows, *counted]
        if not baselines and TASKS[task].reference == "translation" and any(each.metric == "bleu" for each in found):
            baselines = _baseline(settings, answers)
    compared = comparing.comparisons(settings, figures)
    about = {name: hypotheses.asked(folder).get(name, "") for name in ("protocol", "test_set")}
    made = results.as_json(figures, rows, compared) | baselines | {"scoring": scoring_of(settings), **about}
    table = results.as_markdown(figures, rows, compared, about["protocol"])
    storage.write_bytes(storage.join(settings.output, results.TABLE), table.encode())
    storage.write_json(storage.join(settings.output, results.FILE), made)
    job.tracker.log_artifact(results.TABLE, table.encode())
    job.facts |= results.flat(figures, rows) | baselines
    for model, its in results.by_model(figures, rows).items():
        job.tracker.compare(f"{model} at {about['test_set']}" if about["test_set"] else model, its, {"model": model, **about})


def licenses(settings: ScoringSettings) -> None:
    """Raise ValueError for models of metrics whose licenses were not accepted."""
    from spire_ray.evaluation.metrics import comet
    from spire_ray.model import license

    for model in comet.models(settings):
        license.check(model, settings.license.accept)


def _baseline(settings: ScoringSettings, answers: list[dict[str, Any]]) -> dict[str, float]:
    from spire_ray.evaluation import scoring

    value = scoring.shuffled(settings, answers)
    return {} if value is None else {"shuffled_references.bleu": value}


def scoring_of(settings: ScoringSettings) -> dict[str, Any]:
    """All that decides figures beside the answers, as JSON has it."""
    given = asdict(settings)
    return {name: list(value) if isinstance(value := given[name], tuple) else value for name in _DECIDING}


def _under_protocol(settings: ScoringSettings, folder: str) -> ScoringSettings:
    """The settings under the protocol of the answers in a folder."""
    found: ScoringSettings = protocols.applied(settings, hypotheses.asked(folder).get("protocol", ""))
    return found


def grown(settings: ScoringSettings) -> bool:
    """Whether finished figures are others than those that are asked for now."""
    settings = _under_protocol(settings, getattr(settings, "hypotheses", settings.output))
    path = storage.join(settings.output, "results.json")
    return not storage.exists(path) or storage.read_json(path).get("scoring") != scoring_of(settings)


STAGES.register("score", Stage(ScoreSettings, plan, run, uses="jiwer, sacrebleu, unbabel-comet", grown=grown))
