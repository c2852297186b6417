"""`spire audit` for a folder of the stage label: every row is labelled or rejected, once."""

import io
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.manifest.schema import LABELLED
from spire_ray.shards import audit, marks

_READ = ["utt_id", "corpus", "status", "error", "units", "durations"]


@dataclass
class Audit(audit.Audit):
    """What was found in a folder of units; what waits are rows."""

    planned_rows: int = 0
    rows: int = 0
    """In the part files."""
    labelled: int = 0
    heard_hours: float = 0.0
    """Audio that was decoded and labelled, as the shards counted its samples; whatever the manifest says of its length."""
    hours: dict[str, float] = field(default_factory=dict)
    """By corpus, of the frames that became units: some hundredths of a second less of each clip."""
    frames: int = 0
    units: int = 0
    histogram: list[int] = field(default_factory=list)
    """How often each unit occurs, repetitions left out."""
    numerics: list[dict[str, str]] = field(default_factory=list)
    """Every combination of device, decoder and versions that shards were made with."""

    @property
    def entropy(self) -> float:
        """Of the unit distribution, bits."""
        counts = np.array(self.histogram, float)
        share = counts[counts > 0] / max(counts.sum(), 1.0)
        return float(-(share * np.log2(share)).sum()) + 0.0


def audit_folder(folder: str) -> Audit:
    """Compare a folder of units with its plan. Raises ValueError for a folder without one."""
    found = Audit()
    shards = list(audit.shards(folder))
    columns = storage.read_json(storage.join(folder, RUN_FILE))["resolved"]["columns"]
    identity = storage.read_json(storage.join(folder, "fingerprint.json"))["identity"]
    counts = np.zeros(identity["clusters"], np.int64)
    for shard, is_done in shards:
        rows = 0 if shard.begin else shard.rows  # the row of a long recording counts once, with its first window
        found.shards += 1
        found.planned_rows += rows
        if not is_done:
            found.waiting += rows
            continue
        part = marks.part(folder, shard.shard)
        table = tables.read(part, _READ) if storage.exists(part) else _EMPTY
        found.compare_rows(shard, table["utt_id"].to_pylist(), columns)
        _count(table, found, counts, identity["frame_rate"])
    found.heard_hours = marks.total(marks.read(folder)).audio_seconds / 3600
    found.histogram = counts.tolist()
    found.numerics = [dict(pairs) for pairs in sorted({tuple(sorted(mark.numerics.items())) for mark in marks.read(folder)})]
    return found


def lines(found: Audit) -> list[str]:
    """The account in words."""
    told = [
        f"planned {found.planned_rows}, waiting {found.waiting}, in the files {found.rows}: "
        f"labelled {found.labelled}, rejected {sum(found.rejected.values())}",
        found.line(),
        *(f"rejected {count}: {reason}" for reason, count in sorted(found.rejected.items())),
        f"{found.heard_hours:.2f} h of audio labelled",
        *(f"{hours:.2f} h of frames: {corpus}" for corpus, hours in sorted(found.hours.items())),
    ]
    used = sum(count > 0 for count in found.histogram)
    repeated = found.frames / max(found.units, 1)
    told.append(f"{found.units} units of {found.frames} frames, {repeated:.2f} frames a unit")
    told.append(f"{used} of {len(found.histogram)} units used, entropy {found.entropy:.2f} bits")
    if len(found.numerics) > 1:
        told.append(f"note: shards were made with {len(found.numerics)} combinations of device and versions; see audit.json")
    return told


def tell(folder: str) -> tuple[Audit, dict[str, Any], list[str]]:
    """What was found, for `audit.json`, and in words; draws the histogram of the units."""
    found = audit_folder(folder)
    storage.write_bytes(storage.join(folder, "audit.png"), plot(found))
    return found, asdict(found) | {"entropy_bits": round(found.entropy, 4)}, lines(found)


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


def _count(table: pa.Table, found: Audit, counts: np.ndarray, frame_rate: float) -> None:
    found.rows += len(table)
    found.reject(table["error"].to_pylist())
    labelled = table.filter(pc.equal(table["status"], LABELLED)) if len(table) else table
    found.labelled += len(labelled)
    if not len(labelled):
        return
    lengths = pc.list_value_length(labelled["durations"]).to_numpy()
    sums = np.concatenate([[0], np.cumsum(pc.list_flatten(labelled["durations"]).to_numpy(), dtype=np.int64)])
    frames = sums[np.cumsum(lengths)] - sums[np.cumsum(lengths) - lengths]
    for corpus, count in zip(labelled["corpus"].to_pylist(), frames.tolist(), strict=True):
        name = corpus or "no corpus named"
        found.hours[name] = found.hours.get(name, 0.0) + count / frame_rate / 3600
    units = pc.list_flatten(labelled["units"]).to_numpy()
    found.units += len(units)
    found.frames += int(sums[-1])
    counts += np.bincount(units, minlength=len(counts))
