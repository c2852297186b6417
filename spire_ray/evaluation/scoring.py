"""Answers → figures with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spire_ray.evaluation import hypotheses, significance
from spire_ray.evaluation.metrics import METRICS, Metric, Scored
from spire_ray.evaluation.tasks import TASKS
from spire_ray.settings import ScoringSettings
from spire_ray.text.languages import Language, language


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a metric says of a model's answers to a task, in one direction."""

    model: str
    task: str
    languages: str
    """`en`, or `en-de`."""
    metric: str
    value: float
    low: float
    high: float
    """Bounds that hold the figure of 95 in 100 samples of the rows."""
    counts: dict[str, int]
    scored: int
    made: Metric = field(repr=False)
    ids: list[str] = field(repr=False)
    """Of the rows that were scored."""
    statistics: np.ndarray = field(repr=False)
    """The metric's numbers, float64 [scored, k]."""
    samples: np.ndarray = field(repr=False)
    """Figures of samples of the rows."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What became of the rows of a task in one direction."""

    model: str
    task: str
    languages: str
    rows: int
    left_out: int
    """They lack what the task needs, or a reference."""
    failed: int
    """They could not be put to the model."""
    empty: int
    """The answer has no text; it is scored."""
    first_error: str = ""


def metrics_of(task: str, answers: Language, settings: ScoringSettings) -> list[str]:
    """Names of the metrics that score a task. Raises ValueError where none of those that are asked for measures it."""
    if not settings.metrics:
        return list(TASKS[task].metrics(answers))
    kind = TASKS[task].kind
    if not (found := [name for name in settings.metrics if METRICS[name].measures == kind]):
        raise ValueError(f"metrics={list(settings.metrics)}: none of them measures a {kind}, the answer of {task}; add one")
    if not (fitting := [name for name in found if METRICS[name].fits(answers)]):
        own = ", ".join(TASKS[task].metrics(answers))
        raise ValueError(f"metrics={list(settings.metrics)}: {', '.join(found)} says nothing of {answers.name}; add {own}")
    return fitting


def check(settings: ScoringSettings, asked: Iterable[tuple[str, str]]) -> None:
    """Make every metric that (task, code of the language of its answers) will need. Raises ValueError for what it lacks."""
    for task, code in asked:
        for name in metrics_of(task, language(code), settings):
            METRICS[name].make(settings, language(code))


def figures(
    settings: ScoringSettings, model: str, task: str, answers: Sequence[dict[str, Any]]
) -> tuple[list[Figure], list[Rows]]:
    """The figures of a model's answers to a task (rows of `hypotheses.SCHEMA`), and what became of its rows."""
    found, counted = [], []
    for languages, rows in directions(task, answers).items():
        counted.append(_counted(model, task, languages, rows))
        scored = [
            Scored(row["utt_id"], row["hypothesis"], row["reference"], row["text"] or "")
            for row in rows
            if not row["error"] and row["reference"]
        ]
        answer = language(rows[0]["target"])
        for name in metrics_of(task, answer, settings):
            metric = METRICS[name].make(settings, answer)
            numbers = _statistics(f"{model}.{task}.{name}", metric, scored)
            if numbers:
                found.append(_figure(settings, metric, numbers, model=model, task=task, languages=languages, metric=name))
    return found, counted


def directions(task: str, answers: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The answers to a task by their languages: `en`, or `en-de`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in answers:
        pair = row["source"] if row["source"] == row["target"] else f"{row['source']}-{row['target']}"
        found.setdefault(pair, []).append(row)
    return dict(sorted(found.items()))


def shuffled(settings: ScoringSettings, answers: Sequence[dict[str, Any]], name: str = "bleu") -> float | None:
    """A metric of the references in the wrong order: what similar sentences give for free. None for fewer than two."""
    references = [row["reference"] for row in answers if row["reference"]]
    if len(references) < 2:
        return None
    metric = METRICS[name].make(settings, language(answers[0]["target"]))
    rows = [Scored("", wrong, right) for wrong, right in zip([*references[1:], references[0]], references, strict=True)]
    numbers = [each for each in metric.statistics(rows) if each is not None]
    return metric.value(np.asarray(numbers, np.float64).sum(0))


def _counted(model: str, task: str, languages: str, rows: Sequence[dict[str, Any]]) -> Rows:
    errors = [row for row in rows if row["error"] and not row["error"].startswith(hypotheses.NOT_ASKED)]
    unasked = [row for row in rows if row["error"] and row["error"].startswith(hypotheses.NOT_ASKED)]
    answered = [row for row in rows if not row["error"]]
    return Rows(
        model=model,
        task=task,
        languages=languages,
        rows=len(rows),
        left_out=len(unasked) + sum(not row["reference"] for row in answered),
        failed=len(errors),
        empty=sum(not row["hypothesis"] for row in answered),
        first_error=f"{errors[0]['utt_id']}: {errors[0]['error']}" if errors else "",
    )


def _statistics(place: str, metric: Metric, rows: Sequence[Scored]) -> dict[str, Sequence[float]]:
    """The numbers of each row that counts. Raises ValueError, naming the row, for one that cannot be measured."""
    try:
        numbers = metric.statistics(rows)
    except (ValueError, OSError):  # of what the metric needs, not of a row
        raise
    except Exception:
        for row in rows:
            try:
                metric.statistics([row])
            except Exception as error:
                raise ValueError(f"{place}: row {row.utt_id}: {type(error).__name__}: {error}") from error
        raise
    if len(numbers) != len(rows):
        raise ValueError(f"{place}: the metric gave numbers for {len(numbers)} rows of {len(rows)}")
    found = {row.utt_id: each for row, each in zip(rows, numbers, strict=True) if each is not None}
    for utt_id, each in found.items():
        if not np.isfinite(np.asarray(each, np.float64)).all():
            raise ValueError(f"{place}: row {utt_id}: the metric gave {list(each)}, which is no number")
    return found


def _figure(settings: ScoringSettings, made: Metric, numbers: dict[str, Sequence[float]], **place: str) -> Figure:
    statistics = np.asarray(list(numbers.values()), np.float64)
    sums = statistics.sum(0)
    samples = significance.sampled(statistics, made.value, settings.bootstrap, settings.seed)
    low, high = significance.interval(samples)
    if not np.isfinite([value := made.value(sums), low, high]).all():
        raise ValueError(f"{'.'.join((place['model'], place['task'], place['metric']))}: {value}, which is no number")
    return Figure(
        **place,
        value=value,
        low=low,
        high=high,
        counts={name: int(count) for name, count in zip(made.counts, sums, strict=False)},
        scored=len(numbers),
        made=made,
        ids=list(numbers),
        statistics=statistics,
        samples=samples,
    )
