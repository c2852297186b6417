"""What scoring costs: metrics of every answer, samples behind the intervals, and COMET where it is asked for."""

from collections.abc import Iterator, Mapping, Sequence

from spire_ray.evaluation import hypotheses
from spire_ray.evaluation.asking import tasks_of
from spire_ray.evaluation.tasks import TASKS
from spire_ray.settings import EvaluateSettings, GenerateSettings, ScoreSettings
from spire_ray.shards import planning

_METRICS = {"transcript": 1, "translation": 2}
"""Of an answer unless others are asked for; of other kinds one."""
_COMET_FLOPS = 2.0 * 560e6 * 150
"""Of XLM-R large, for the tokens of source, translation and reference."""


def count(tasks: Sequence[str], settings: ScoreSettings | EvaluateSettings) -> int:
    """Figures of tasks: as many metrics as are asked for fit at most, or as the task has."""
    return sum(len(settings.metrics) or _METRICS.get(TASKS[task].kind, 1) for task in tasks)


def tasks(settings: GenerateSettings | EvaluateSettings) -> list[str]:
    """Every task of every model, with what comes before it."""
    return [task for model in settings.models for task in tasks_of(model)]


def there(folder: str) -> tuple[list[str], float] | None:
    """Tasks and rows of answers that lie in a folder; None where none do."""
    said: Mapping[str, Mapping[str, list[str]]] = hypotheses.asked(folder)
    if not said:
        return None
    return [task for of in said["tasks"].values() for task in of], float(sum(shard.rows for shard in planning.read(folder)))


def items(names: Sequence[str], rows: float, settings: ScoreSettings | EvaluateSettings) -> Iterator[tuple[str, float, str]]:
    """(what, how much, coefficient) of scoring that many rows of each task."""
    figures = count(names, settings)
    yield "answers × metrics", rows * figures, "score"
    yield "answers × metrics × samples", rows * figures * settings.bootstrap, "sample"
    if models := len({"comet", "cometkiwi", "xcomet"} & set(settings.metrics)):
        translations = sum(TASKS[name].kind == "translation" for name in names)
        yield "translations through COMET, as XLM-R large", rows * translations * models * _COMET_FLOPS, "encode"
