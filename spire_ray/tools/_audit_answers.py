"""`spire audit` for a folder of the stage generate or evaluate: every row is answered or failed, once for each model and task."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from spire_ray.core import storage, tables
from spire_ray.evaluation import hypotheses, planned
from spire_ray.shards import audit, marks


@dataclass
class Audit(audit.Audit):
    """What was found in a folder of answers; shards and rows count once for each model and task, what waits are rows."""

    planned_rows: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    """By model and task."""


def audit_folder(folder: str) -> Audit:
    """Compare a folder of answers with its plan. Raises ValueError for a folder without one."""
    found = Audit()
    for model, task in hypotheses.pairs(folder):
        place = hypotheses.place(folder, model, task)
        name, answered = f"{model} {task}", 0
        for shard, is_done in audit.shards(folder, place):
            found.shards += 1
            found.planned_rows += shard.rows
            if not is_done:
                found.waiting += shard.rows
                continue
            part = marks.part(place, shard.shard)
            rows = tables.read(part, ["utt_id", "error"]).to_pylist() if storage.exists(part) else []
            wanted = Counter(f"{utt_id} {name}" for utt_id in planned.ids(shard))
            found.compare(wanted, Counter(f"{row['utt_id']} {name}" for row in rows))
            found.reject(row["error"] for row in rows)
            answered += sum(row["error"] is None for row in rows)
        found.answered[name] = answered
    return found


def lines(found: Audit) -> list[str]:
    """The account in words."""
    return [
        f"asked {found.planned_rows} rows, waiting {found.waiting}: answered {sum(found.answered.values())}, "
        f"without an answer {sum(found.rejected.values())}",
        found.line(),
        *(f"without an answer {count}: {reason}" for reason, count in sorted(found.rejected.items())),
        *(f"answered {count}: {name}" for name, count in found.answered.items()),
    ]


def tell(folder: str) -> tuple[Audit, dict[str, Any], list[str]]:
    """What was found, for `audit.json`, and in words."""
    found = audit_folder(folder)
    return found, asdict(found), lines(found)
