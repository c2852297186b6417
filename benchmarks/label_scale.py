"""Scale rehearsal: millions of rows through plan, label and audit, with a stand-in of 8 fixed units a row and no audio.

    python benchmarks/label_scale.py --rows 10000000 [--shard-hours 1] [--output benchmarks/results/label_scale.json]

What is rehearsed is all that grows with rows and shards: planning, Ray Data with a block a shard, part files,
marks and the audit. The memory of the driver is plotted over the shards done.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray import cli
from spire_ray.core import provenance, storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import EncoderSettings, LabelSettings
from spire_ray.shards import marks, planning
from spire_ray.shards.shard import Shard, check
from spire_ray.stages import label
from spire_ray.tools._audit_units import audit_folder
from spire_ray.units.codebook import Codebook

MEAN_SECONDS = 15.3
ROWS_PER_FILE = 100_000
UNITS_PER_ROW = 8
_WATCHED_EVERY = 2.0
"""Seconds."""


class LabelShard:
    """In place of decoding, encoder and codebook: 8 fixed units a row; files and marks as in the job."""

    def __init__(self, settings: LabelSettings, *_: Any) -> None:
        self._output = settings.output

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Row of the plan → part file and mark."""
        shard = Shard.of(batch.to_pylist()[0])
        rows = reader.rows(shard.file, {}, shard.first, shard.rows)
        check(shard, rows)
        fixed = pa.array([range(UNITS_PER_ROW)] * len(rows), pa.list_(pa.uint16()))
        made = {"units": fixed, "durations": fixed, "status": pa.array(["labelled"] * len(rows))}
        made["error"] = pa.nulls(len(rows), pa.string())
        table = pa.table([made[name] if name in made else rows[name] for name in UNITS.names], schema=UNITS)
        tables.write(marks.part(self._output, shard.shard), table)
        made_of = {"digest": shard.digest, "carried": shard.carried}
        mark = marks.Mark(rows=len(rows), audio_seconds=shard.seconds, at=time.time(), **made_of)
        marks.write(self._output, shard.shard, mark)
        return pa.table({"audio_seconds": [shard.seconds], "busy": [0.0], "rejected": [0]})


def main() -> None:
    """Run the rehearsal, print and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shard-hours", type=float, default=1.0)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = _rehearse(Path(folder), options.rows, options.shard_hours, options.output)
    print(json.dumps({key: value for key, value in report.items() if key != "memory"}, indent=1))
    if options.output:
        storage.write_json(options.output, report)


def _rehearse(folder: Path, rows: int, shard_hours: float, output: str) -> dict[str, Any]:
    (folder / "manifest").mkdir()
    timed = _Timer()
    hours = _manifest(folder / "manifest", rows)
    timed("manifest written")
    report: dict[str, Any] = {"benchmark": "label_scale", "rows": rows, "hours": round(hours), "shard_hours": shard_hours}
    report["shards"] = len(planning.plan(str(folder / "manifest"), {}, str(folder / "units"), 3600 * shard_hours))
    timed("plan")
    (folder / "units" / planning.PLAN_FILE).unlink()
    report |= _label(folder, shard_hours, output)
    timed("label")
    account = audit_folder(str(folder / "units"))
    timed("audit")
    report["audit"] = {"rows": account.rows, "labelled": account.labelled, "faults": account.faults, "units": account.units}
    assert account.faults == 0 and account.rows == rows
    per_million = {name: round(took["wall"] / rows * 1e6, 1) for name, took in timed.taken.items()}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()}
    report |= {"seconds": timed.taken, "wall_seconds_per_million_rows": per_million}
    return report | {"machine": machine, "versions": provenance.versions()}


def _label(folder: Path, shard_hours: float, output: str) -> dict[str, Any]:
    settings = EncoderSettings(name="mfcc")
    from spire_ray.units.encoders.loading import load_encoder

    centroids = np.eye(UNITS_PER_ROW, 65, dtype=np.float32)
    Codebook.create(centroids, settings, load_encoder(settings).identity, {}).save(str(folder / "codebook"))
    fields = {"stage": "label", "manifest": f"{folder}/manifest", "codebook": f"{folder}/codebook", "output": f"{folder}/units"}
    fields |= {"shard_seconds": 3600 * shard_hours, "tracking": {"enabled": False}}
    (folder / "label.yaml").write_text(json.dumps(fields))
    label.LabelShard = LabelShard  # type: ignore[misc, assignment]
    memory: list[tuple[float, int, int]] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder / "units" / "_done", memory, ended))
    watcher.start()
    assert cli.main(["label", "--config", str(folder / "label.yaml")]) == 0
    ended.set()
    watcher.join()
    begun = [seen for seen in memory if seen[1] > 0]
    (started, first, _), (ended_at, last, _) = begun[0], begun[-1]
    sizes = [size for *_, size in memory]
    if output:
        storage.write_bytes(f"{output.removesuffix('.json')}.png", _plot(memory))
    return {
        "seconds_to_first_shard": round(started, 1),
        "shards_per_second": round((last - first) / max(ended_at - started, _WATCHED_EVERY), 1),
        "driver_mb": {"at first": round(sizes[0] / 1e6), "at most": round(max(sizes) / 1e6)},
        "driver_kb_per_shard": round((max(sizes) - sizes[0]) / last / 1e3, 1),
        "memory": memory,
    }


def _manifest(folder: Path, rows: int) -> float:
    draw, seconds = np.random.default_rng(0), 0.0
    for first in range(0, rows, ROWS_PER_FILE):
        count = min(ROWS_PER_FILE, rows - first)
        durations = draw.gamma(4.0, MEAN_SECONDS / 4, count)
        seconds += durations.sum()
        ids = [f"corpus-{n:012d}" for n in range(first, first + count)]
        table = pa.table(
            {
                "utt_id": ids,
                "audio": [f"s3://bucket/corpus/{utt_id}.flac" for utt_id in ids],
                "duration": durations,
                "text": ["a sentence of about sixty letters as transcripts commonly are"] * count,
                "corpus": ["corpus"] * count,
            }
        )
        pq.write_table(table, folder / f"part-{first // ROWS_PER_FILE:06d}.parquet", row_group_size=5_000)
    return seconds / 3600


def _watch(folder: Path, memory: list[tuple[float, int, int]], ended: threading.Event) -> None:
    """Notes (seconds, shards done, bytes of this process) now and then."""
    began = time.monotonic()
    while not ended.wait(_WATCHED_EVERY):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        done = len(os.listdir(folder)) if folder.exists() else 0
        memory.append((round(time.monotonic() - began, 1), done, pages * os.sysconf("SC_PAGE_SIZE")))


def _plot(memory: list[tuple[float, int, int]]) -> bytes:
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([done for _, done, _ in memory], [size / 1e6 for *_, size in memory])
    axes.set(xlabel="shards done", ylabel="memory of the driver, MB", ylim=(0, 1.1e-6 * max(size for *_, size in memory)))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


class _Timer:
    """Wall and CPU seconds of the steps of this process."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}
        self._last = (time.monotonic(), time.process_time())

    def __call__(self, step: str) -> None:
        now = (time.monotonic(), time.process_time())
        self.taken[step] = {"wall": round(now[0] - self._last[0], 1), "cpu": round(now[1] - self._last[1], 1)}
        self._last = now


if __name__ == "__main__":
    main()
