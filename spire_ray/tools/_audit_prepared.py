"""`spire audit` for a folder of the stage prepare: every row is kept or left out, once, whole or in pieces."""

from dataclasses import asdict, dataclass
from typing import Any

from spire_ray.core import storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.manifest.schema import REJECTED
from spire_ray.shards import audit, marks


@dataclass
class Audit(audit.Audit):
    """What was found in a prepared manifest; what waits are rows."""

    planned_rows: int = 0
    kept: int = 0
    """Rows and pieces of rows in the manifest that was made."""
    kept_hours: float = 0.0


def audit_folder(folder: str) -> Audit:
    """Compare a prepared manifest, and what was left out of it, with its plan."""
    columns = storage.read_json(storage.join(folder, RUN_FILE))["resolved"]["columns"]
    found = Audit()
    for shard, is_done in audit.shards(folder):
        found.shards += 1
        found.planned_rows += shard.rows
        if not is_done:
            found.waiting += shard.rows
            continue
        kept = _rows(marks.part(folder, shard.shard), "duration")
        left = _rows(marks.part(storage.join(folder, REJECTED), shard.shard), "error")
        found.kept += len(kept)
        found.kept_hours += sum(seconds for _, seconds in kept) / 3600
        found.reject(error for _, error in left)
        found.compare_rows(shard, [utt_id for utt_id, _ in kept + left], columns)
    return found


def lines(found: Audit) -> list[str]:
    """The account in words."""
    return [
        f"planned {found.planned_rows} rows, waiting {found.waiting}: rows and pieces kept {found.kept}, "
        f"left out {sum(found.rejected.values())}",
        found.line(),
        *(f"left out {count}: {reason}" for reason, count in sorted(found.rejected.items())),
        f"{found.kept_hours:.2f} h of audio kept",
    ]


def tell(folder: str) -> tuple[Audit, dict[str, Any], list[str]]:
    """What was found, for `audit.json`, and in words."""
    found = audit_folder(folder)
    return found, asdict(found), lines(found)


def _rows(part: str, column: str) -> list[tuple[str, Any]]:
    """Ids and one column of a part; a shard of which nothing was kept, or left out, may have none."""
    table = tables.read(part, ["utt_id", column]) if storage.exists(part) else None
    return [] if table is None else list(zip(table["utt_id"].to_pylist(), table[column].to_pylist(), strict=True))
