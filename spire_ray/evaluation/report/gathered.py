"""What was measured, from the folders of several evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spire_ray.core import storage, tables
from spire_ray.evaluation import results
from spire_ray.evaluation.metrics import METRICS, Metric
from spire_ray.settings import CometSettings, ScoreSettings
from spire_ray.text.languages import language


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure: a system, a task, a test set and a metric."""

    folder: str
    """Of its scores."""
    protocol: str
    test_set: str
    model: str
    task: str
    languages: str
    metric: str
    value: float
    low: float
    high: float
    scored: int
    signature: str
    rows: list[dict[str, Any]] = field(repr=False)
    """Each answer in this direction, with its metrics."""
    scoring: dict[str, Any] = field(repr=False)

    @property
    def family(self) -> str:
        """`st` of `st_direct`: what stands in one table."""
        return self.task.partition("_")[0]

    @property
    def system(self) -> str:
        """The model, and the way that it is asked where there are several."""
        mode = self.task.partition("_")[2]
        return f"{self.model}, {mode}" if mode else self.model

    @property
    def place(self) -> str:
        """Test set and languages."""
        return f"{self.test_set} {self.languages}"

    @property
    def better(self) -> bool:
        """Whether a higher figure is better."""
        return METRICS[self.metric].higher_is_better

    def numbers(self) -> dict[str, list[float]]:
        """Rows that were scored, and what adds up to the figure."""
        name = f"{self.metric}.statistics"
        return {row["utt_id"]: row[name] for row in self.rows if row[name] is not None}

    def made(self) -> Metric:
        """The metric, for figures of some of the rows. Raises ValueError where it cannot be had here."""
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in self.scoring.items()}
        given["comet"] = CometSettings(**given["comet"]) if "comet" in given else CometSettings()
        settings = ScoreSettings(output="", hypotheses="", **given)
        return METRICS[self.metric].make(settings, language(self.languages.rpartition("-")[2]))


def gather(folders: Sequence[str]) -> list[Entry]:
    """Every figure. Raises ValueError for a folder without results, and for a system that was measured twice at one thing."""
    found: list[Entry] = []
    for folder in folders:
        place = storage.join(folder, results.FILE)
        if not storage.exists(place):
            raise ValueError(f"{folder}: no {results.FILE} there; make it with the stage evaluate or score")
        found += _of(folder, storage.read_json(place))
    seen: set[tuple[str, ...]] = set()
    for each in found:
        key = (each.protocol, each.place, each.system, each.metric)
        if key in seen:
            raise ValueError(
                f"{each.system} is measured twice at {each.place} ({each.metric}); give it another name in one of them"
            )
        seen.add(key)
    return found


def _of(folder: str, data: dict[str, Any]) -> list[Entry]:
    scores: dict[tuple[str, str], list[dict[str, Any]]] = {}
    entries = []
    for figure in data["figures"]:
        model, task = figure["model"], figure["task"]
        if (model, task) not in scores:
            scores[model, task] = list(tables.read(storage.join(folder, results.BY_ROW, model, f"{task}.parquet")).to_pylist())
        start, _, end = figure["languages"].partition("-")
        rows = [row for row in scores[model, task] if (row["source"], row["target"]) == (start, end or start)]
        entries.append(
            Entry(
                folder=folder,
                protocol=data.get("protocol", ""),
                test_set=data.get("test_set") or folder.rstrip("/").rpartition("/")[2],
                signature=figure["signature"],
                rows=rows,
                scoring=data.get("scoring", {}),
                **{name: figure[name] for name in ("model", "task", "languages", "metric", "value", "low", "high", "scored")},
            )
        )
    return entries
