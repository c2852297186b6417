"""`spire audit` for a folder of the stage pseudo_label: every translation that was to be made is kept, dropped or failed.

The translations of a shard are compared with those that its rows ask for, and the rows that are kept with their scores.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.pseudo_labels import labels, pseudo

_NAMED = 10


@dataclass
class Audit:
    """What was found in a folder of pseudo-labels."""

    shards: int = 0
    waiting: int = 0
    """Shards that are not done."""
    translations: int = 0
    """Asked for by the rows of the shards that are done."""
    missing: int = 0
    duplicate: int = 0
    unplanned: int = 0
    examples: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    """By kind of reason."""
    kept: dict[str, int] = field(default_factory=dict)
    """By language; empty while the job runs."""
    dropped: dict[str, int] = field(default_factory=dict)
    mean_score: dict[str, float] = field(default_factory=dict)
    """By language, of all that were scored."""

    @property
    def faults(self) -> int:
        """Translations that are lost, doubled or from nowhere."""
        return self.missing + self.duplicate + self.unplanned


def is_labels(folder: str) -> bool:
    """Whether the stage pseudo_label made a folder."""
    path = storage.join(folder, RUN_FILE)
    return storage.exists(path) and storage.read_json(path).get("stage") == "pseudo_label"


def tell(folder: str) -> int:
    """Print the account and write `audit.json`; 1 if translations are lost."""
    found = audit(folder)
    storage.write_bytes(storage.join(folder, "audit.json"), json.dumps(asdict(found), indent=1).encode())
    for line in lines(found):
        print(line)
    return int(bool(found.faults))


def audit(folder: str) -> Audit:
    """Compare a folder of pseudo-labels with its plan."""
    record = storage.read_json(storage.join(folder, RUN_FILE))
    settings, complete = record["resolved"], record["status"] == "complete"
    shards, done, found = labels.plan(folder), labels.done(folder), Audit()
    failed, made, kept = Counter[str](), Counter[str](), Counter[str]()
    sums, scored = Counter[str](), Counter[str]()
    found.shards, found.waiting = len(shards), len([shard for shard in shards if shard.shard not in done])
    for shard in shards:
        if shard.shard not in done:
            continue
        rows = labels.rows(shard, settings["split"]).to_pylist()
        wanted = Counter((rows[each.row]["utt_id"], each.target) for each in pseudo.requests(rows, settings["languages"]))
        table = labels.read(folder, shard.shard)
        there = Counter(zip(table["utt_id"].to_pylist(), table["target_language"].to_pylist(), strict=True))
        _compare(wanted, there, found)
        for row in table.filter(pc.is_valid(table["error"])).to_pylist():
            failed[row["error"].partition(": ")[0]] += 1
        for row in table.filter(pc.is_valid(table["translation"])).select(["target_language", "score"]).to_pylist():
            made[row["target_language"]] += 1
            if row["score"] is not None:
                sums[row["target_language"]] += row["score"]
                scored[row["target_language"]] += 1
        if complete:
            part = tables.read(storage.join(folder, f"part-{shard.shard:06d}.parquet"), ["translations"])
            kept.update(code for pairs in part["translations"].to_pylist() for code, _ in pairs)
    found.failed, found.kept = dict(failed), dict(kept)
    found.dropped = {code: made[code] - kept[code] for code in made} if complete else {}
    found.mean_score = {code: round(sums[code] / scored[code], 4) for code in scored}
    return found


def _compare(wanted: Counter[tuple[str, str]], there: Counter[tuple[str, str]], found: Audit) -> None:
    missing, beyond = wanted - there, there - wanted
    found.translations += sum(wanted.values())
    found.missing += sum(missing.values())
    found.duplicate += sum(count for pair, count in beyond.items() if pair in wanted)
    found.unplanned += sum(count for pair, count in beyond.items() if pair not in wanted)
    examples = [f"{utt_id} → {target or '?'}" for utt_id, target in sorted(missing | beyond)]
    found.examples += examples[: _NAMED - len(found.examples)]


def lines(found: Audit) -> list[str]:
    """The account in words."""
    told = [
        f"shards {found.shards}, waiting {found.waiting}; translations {found.translations}: kept {sum(found.kept.values())}, "
        f"dropped {sum(found.dropped.values())}, failed {sum(found.failed.values())}",
        f"missing {found.missing}, duplicate {found.duplicate}, not planned {found.unplanned}"
        + (f": {', '.join(found.examples)}" if found.examples else ""),
        *(f"failed {count}: {reason}" for reason, count in sorted(found.failed.items())),
    ]
    for code in sorted(found.dropped):
        score = f", mean score {found.mean_score[code]:.4f}" if code in found.mean_score else ""
        told.append(f"{code}: kept {found.kept.get(code, 0)}, dropped {found.dropped[code]}{score}")
    return told
