"""Every row of a labelling job accounted for.

Each part file is compared with the rows of the manifest that its shard was planned from, one shard at a time in flat memory.
A folder of pseudo-labels is audited by `audit_labels`.
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import command, storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.manifest import reader, unique
from spire_ray.manifest.schema import LABELLED, Columns
from spire_ray.shards import marks, planning
from spire_ray.tools import _audit_labels

FAULTS_FOUND = 1
_NAMED = 10
_READ = ["utt_id", "corpus", "duration", "status", "error", "units", "durations"]


@dataclass
class Audit:
    """What was found in a folder of units."""

    planned_rows: int = 0
    rows: int = 0
    """In the part files."""
    waiting: int = 0
    """Planned rows of shards that are not done."""
    missing: int = 0
    duplicate: int = 0
    unplanned: int = 0
    examples: list[str] = field(default_factory=list)
    """Some missing, duplicate and unplanned ids."""
    labelled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By kind of reason."""
    hours: dict[str, float] = field(default_factory=dict)
    """Labelled, by corpus."""
    frames: int = 0
    units: int = 0
    histogram: list[int] = field(default_factory=list)
    """How often each unit occurs, repetitions left out."""
    numerics: list[dict[str, str]] = field(default_factory=list)
    """Every combination of device, decoder and versions that shards were made with."""

    @property
    def faults(self) -> int:
        """Rows that are lost, doubled or from nowhere."""
        return self.missing + self.duplicate + self.unplanned

    @property
    def entropy(self) -> float:
        """Of the unit distribution, bits."""
        counts = np.array(self.histogram, float)
        share = counts[counts > 0] / max(counts.sum(), 1.0)
        return float(-(share * np.log2(share)).sum()) + 0.0


@command.cli_errors("audit")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool: prints the account and writes `audit.json` and `audit.png`; the status is 1 if rows are lost."""
    parser = argparse.ArgumentParser("spire audit", description="Account for every row of a labelling job.")
    parser.add_argument("folder", help="output folder of the stage label or pseudo_label")
    options = parser.parse_args(arguments)
    if _audit_labels.is_labels(options.folder):
        return _audit_labels.tell(options.folder)
    found = audit(options.folder)
    account = asdict(found) | {"entropy_bits": round(found.entropy, 4)}
    storage.write_bytes(storage.join(options.folder, "audit.json"), json.dumps(account, indent=1).encode())
    storage.write_bytes(storage.join(options.folder, "audit.png"), plot(found))
    for line in lines(found):
        print(line)
    return FAULTS_FOUND if found.faults else 0


def audit(folder: str) -> Audit:
    """Compare a folder of units with its plan. Raises ValueError for a folder without one."""
    path = storage.join(folder, planning.PLAN_FILE)
    if not storage.exists(path):
        raise ValueError(f"{folder}: no {planning.PLAN_FILE} there; expected the output folder of the stage label")
    settings = storage.read_json(storage.join(folder, RUN_FILE))["resolved"]
    clusters = storage.read_json(storage.join(folder, "fingerprint.json"))["identity"]["clusters"]
    done, found, counts = marks.done(folder), Audit(), np.zeros(clusters, np.int64)
    shards = sorted((planning.Shard(**row) for row in tables.read(path).to_pylist()), key=lambda s: (s.file, s.first))
    with unique.Hashes() as hashes:
        for shard in shards:
            begun_before = shard.begin is not None and shard.begin > 0  # the row counts once, with its first window
            found.planned_rows += 0 if begun_before else shard.rows
            if shard.shard not in done:
                found.waiting += 0 if begun_before else shard.rows
                continue
            part = marks.part(folder, shard.shard)
            table = tables.read(part, _READ) if storage.exists(part) else _EMPTY
            _compare(shard, table["utt_id"].to_pylist(), settings["columns"], found)
            _count(table, found, counts)
            hashes.add(table["utt_id"].to_pylist())
        _doubled(folder, sorted(done), hashes.repeated(), found)
    found.histogram = counts.tolist()
    found.numerics = [dict(pairs) for pairs in sorted({tuple(sorted(mark.numerics.items())) for mark in marks.read(folder)})]
    return found


def lines(found: Audit) -> list[str]:
    """The account in words."""
    told = [
        f"planned {found.planned_rows}, waiting {found.waiting}, in the files {found.rows}: "
        f"labelled {found.labelled}, rejected {sum(found.rejected.values())}",
        f"missing {found.missing}, duplicate {found.duplicate}, not planned {found.unplanned}"
        + (f": {', '.join(found.examples)}" if found.examples else ""),
        *(f"rejected {count}: {reason}" for reason, count in sorted(found.rejected.items())),
        *(f"{hours:.2f} h labelled: {corpus}" for corpus, hours in sorted(found.hours.items())),
    ]
    used = sum(count > 0 for count in found.histogram)
    repeated = found.frames / max(found.units, 1)
    told.append(f"{found.units} units of {found.frames} frames, {repeated:.2f} frames a unit")
    told.append(f"{used} of {len(found.histogram)} units used, entropy {found.entropy:.2f} bits")
    if len(found.numerics) > 1:
        told.append(f"note: shards were made with {len(found.numerics)} combinations of device and versions; see audit.json")
    return told


def plot(found: Audit) -> bytes:
    """The unit histogram, by use, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(found.histogram)), sorted(found.histogram, reverse=True), width=1.0)
    axes.set(title=f"{found.units} units, entropy {found.entropy:.2f} bits", xlabel="units by use", ylabel="occurrences")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


_EMPTY = pa.table({name: pa.array([], pa.string()) for name in _READ})


def _compare(shard: planning.Shard, there: list[str], columns: Columns, found: Audit) -> None:
    """The ids of a part against those of its rows; pieces `ID#…` of a long recording stand for it."""
    rows = reader.rows(shard.file, planning.columns_in(shard.file, columns), shard.first, shard.rows, audio_bytes=False)
    planned = rows["utt_id"].to_pylist()
    if there == planned:
        return
    wanted = set(planned)
    parents = {utt_id if utt_id in wanted else utt_id.rpartition("#")[0] for utt_id in there}
    missing, unplanned = wanted - parents, parents - wanted
    found.missing += len(missing)
    found.unplanned += len(unplanned)
    found.examples += sorted(missing | unplanned)[: _NAMED - len(found.examples)]


def _count(table: pa.Table, found: Audit, counts: np.ndarray) -> None:
    found.rows += len(table)
    labelled = table.filter(pc.equal(table["status"], LABELLED)) if len(table) else table
    found.labelled += len(labelled)
    if len(labelled) < len(table):
        for error in table.filter(pc.not_equal(table["status"], LABELLED))["error"].to_pylist():
            found.rejected[marks.reason(error)] = found.rejected.get(marks.reason(error), 0) + 1
    if not len(labelled):
        return
    for corpus, seconds in zip(labelled["corpus"].to_pylist(), labelled["duration"].to_pylist(), strict=True):
        name = corpus or "no corpus named"
        found.hours[name] = found.hours.get(name, 0.0) + (seconds or 0.0) / 3600
    units = pc.list_flatten(labelled["units"]).to_numpy()
    found.units += len(units)
    found.frames += pc.sum(pc.list_flatten(labelled["durations"])).as_py() or 0
    counts += np.bincount(units, minlength=len(counts))


def _doubled(folder: str, done: list[int], hashes: set[int], found: Audit) -> None:
    """Find the ids behind repeated hashes in a second pass."""
    if not hashes:
        return
    counts: Counter[str] = Counter()
    for shard in done:
        ids = tables.read(marks.part(folder, shard), ["utt_id"])["utt_id"].to_pylist()
        counts.update(utt_id for utt_id, value in zip(ids, unique.of(ids).tolist(), strict=True) if value in hashes)
    repeated = {utt_id: count for utt_id, count in counts.items() if count > 1}
    found.duplicate += sum(repeated.values()) - len(repeated)
    found.examples += sorted(repeated)[: _NAMED - len(found.examples)]
