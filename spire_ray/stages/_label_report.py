"""What a label job tells: its progress, its metrics, and what became of every row."""

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spire_ray.runtime.job import Job
from spire_ray.settings import LabelSettings
from spire_ray.shards import account, marks

_REPORTED_EVERY = 10.0
"""Seconds between two reports to MLflow."""


class Report:
    """Progress line and MLflow metrics of the shards of this run."""

    def __init__(self, job: Job[LabelSettings], planned: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the plan: `shard`, `rows` and `seconds` of each; what is rejected counts as done, too."""
        self._job, self._planned = job, {shard["shard"]: shard for shard in planned}
        self._total = sum(shard["seconds"] for shard in planned)
        self._began = self._reported = time.monotonic()
        self._done = self._audio = self._busy = 0.0
        self._rows = self._shards = self._aside = 0
        self._rejected = Counter[str]()

    def add(self, labelled: dict[str, Any]) -> None:
        """Count a shard."""
        self._shards += 1
        self._done += self._planned[labelled["shard"]]["seconds"]
        self._rows += self._planned[labelled["shard"]]["rows"]
        self._audio += labelled["audio_seconds"]
        self._busy += labelled["busy"]
        self._rejected.update(json.loads(labelled["rejected"]))
        speed = self._audio / (time.monotonic() - self._began)
        done = self._done if self._shards < len(self._planned) else self._total  # sums in another order differ
        hours = f"{self._audio / 3600:.2f} of {self._total / 3600:.2f} h labelled"
        text = f"{hours}  {speed:.0f} × real time  {self._rejected.total()} rejected"
        self._job.progress.update(done, self._total, text)
        if time.monotonic() - self._reported > _REPORTED_EVERY:
            self.end()

    def aside(self) -> None:
        """Count a shard that no node can do."""
        self._aside += 1
        self.end()

    def end(self) -> None:
        """Log what this run has done so far."""
        self._reported = time.monotonic()
        elapsed = self._reported - self._began
        metrics = {
            "label/hours": self._audio / 3600,
            "label/hours_per_second": self._audio / 3600 / elapsed,
            "label/x_real_time": self._audio / elapsed,
            "label/rejected": self._rejected.total(),
            "label/rejected_share": self._rejected.total() / max(1, self._rows),
            **{metric(reason): count for reason, count in self._rejected.items()},
            "label/set_aside": self._aside,
            "label/actor_busy": self._busy / elapsed / self._job.settings.workers,
        }
        self._job.tracker.log_metrics(metrics, self._shards)


def summarise(job: Job[LabelSettings], clusters: int) -> None:
    """Add up the done marks: every row is labelled or rejected, and the counts say so."""
    total = marks.total(marks.read(job.settings.output))
    rejected = sum(total.rejected.values())
    facts: dict[str, Any] = {
        "rows": total.rows,
        "labelled": total.rows - rejected,
        "rejected": rejected,
        "hours": round(total.audio_seconds / 3600, 4),
        "frames": total.frames,
        "units": total.units,
        "clusters": clusters,
    }
    job.facts |= facts | {"rejected_by_reason": total.rejected}
    job.content = marks.content(job.settings.output)
    job.tracker.log_metrics({metric(reason): count for reason, count in total.rejected.items()})
    for line in account.lines(total.rejected):
        print(f"  {line}")
    account.check(total, job.settings.max_rejected_share, job.settings.output)


def metric(reason: str) -> str:
    """The name of a count of rejected rows, of characters that MLflow takes."""
    return f"label/rejected/{re.sub(r'[^a-zA-Z0-9_. -]', '', reason.replace('…', 'N'))}"
