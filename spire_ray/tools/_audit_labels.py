"""`spire audit` for a folder of the stage pseudo_label: every translation that was to be made is kept, dropped or failed.

The translations of a shard are compared with those that its rows ask for, and the rows that are kept with their scores.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.pseudo_labels import labels, pseudo
from spire_ray.shards import audit, marks


@dataclass
class Audit(audit.Audit):
    """What was found in a folder of pseudo-labels; what waits are shards."""

    translations: int = 0
    """Asked for by the rows of the shards that are done."""
    kept: dict[str, int] = field(default_factory=dict)
    """By language; empty while the job runs."""
    dropped: dict[str, int] = field(default_factory=dict)
    mean_score: dict[str, float] = field(default_factory=dict)
    """By language, of all that were scored."""


def audit_folder(folder: str) -> Audit:
    """Compare a folder of pseudo-labels with its plan."""
    record = storage.read_json(storage.join(folder, RUN_FILE))
    settings, complete, found = record["resolved"], record["status"] == "complete", Audit()
    made, kept, sums, scored = (Counter[str]() for _ in range(4))
    for shard, is_done in audit.shards(folder):
        found.shards += 1
        if not is_done:
            found.waiting += 1
            continue
        rows = labels.rows(shard, settings["split"], settings["source_language"]).to_pylist()
        asked = pseudo.requests(rows, settings["languages"])
        wanted = Counter(_name(rows[each.row]["utt_id"], each.target) for each in asked)
        table = labels.read(folder, shard.shard)
        found.translations += wanted.total()
        found.compare(wanted, Counter(map(_name, table["utt_id"].to_pylist(), table["target_language"].to_pylist())))
        found.reject(table["error"].to_pylist())
        for row in table.filter(pc.is_valid(table["translation"])).select(["target_language", "score"]).to_pylist():
            made[row["target_language"]] += 1
            if row["score"] is not None:
                sums[row["target_language"]] += row["score"]
                scored[row["target_language"]] += 1
        if complete:
            part = tables.read(marks.part(folder, shard.shard), ["translations"])
            kept.update(code for pairs in part["translations"].to_pylist() for code, _ in pairs)
    found.kept = dict(kept)
    found.dropped = {code: made[code] - kept[code] for code in made} if complete else {}
    found.mean_score = {code: round(sums[code] / scored[code], 4) for code in scored}
    return found


def lines(found: Audit) -> list[str]:
    """The account in words."""
    told = [
        f"shards {found.shards}, waiting {found.waiting}; translations {found.translations}: kept {sum(found.kept.values())}, "
        f"dropped {sum(found.dropped.values())}, failed {sum(found.rejected.values())}",
        found.line(),
        *(f"failed {count}: {reason}" for reason, count in sorted(found.rejected.items())),
    ]
    for code in sorted(found.dropped):
        score = f", mean score {found.mean_score[code]:.4f}" if code in found.mean_score else ""
        told.append(f"{code}: kept {found.kept.get(code, 0)}, dropped {found.dropped[code]}{score}")
    return told


def tell(folder: str) -> tuple[Audit, dict[str, Any], list[str]]:
    """What was found, for `audit.json`, and in words."""
    found = audit_folder(folder)
    account = asdict(found)
    return found, account | {"failed": account.pop("rejected")}, lines(found)


def _name(utt_id: str, target: str) -> str:
    return f"{utt_id} → {target or '?'}"
