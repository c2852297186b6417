"""Progress, throughput and failures of a job, while it runs and after."""

import argparse
import time
from collections.abc import Sequence

from spire_ray.core import command, lock, provenance, storage, tables
from spire_ray.shards import account, marks, planning

_WINDOW = 600.0
"""Seconds over which the present speed is taken."""


@command.cli_errors("status")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire status", description="Progress, throughput and failures of a job.")
    parser.add_argument("folder", help="output folder of a stage")
    options = parser.parse_args(arguments)
    for line in lines(options.folder, time.time()):
        print(line)
    return 0


def lines(folder: str, now: float) -> list[str]:
    """What is known of a job. Raises ValueError for a folder that no stage has made."""
    record, writer = provenance.read(folder), lock.holder(folder)
    if record["status"] == "complete" and writer is None:
        state = f"complete in {record['seconds']:g} s"
    elif writer:
        state = f"running: process {writer['pid']} on {writer['host']}"
    else:
        state = "stopped before its end; run it again to go on"
    told = [f"{record['stage']}: {state}"]
    if storage.exists(storage.join(folder, planning.PLAN_FILE)):
        told += _shards(folder, now, writer is not None, record["stage"] == "label")
    return told


def _shards(folder: str, now: float, running: bool, is_audio: bool) -> list[str]:
    planned = tables.read(storage.join(folder, planning.PLAN_FILE), ["shard", "seconds"])
    found = list(marks.read(folder))
    total = marks.total(found)
    seconds = sum(planned["seconds"].to_pylist())
    finished = marks.done(folder)
    done_seconds = sum(row["seconds"] for row in planned.to_pylist() if row["shard"] in finished)
    told = [f"shards {len(found)} of {len(planned)}, rows {total.rows}"]
    told[0] += f", hours {done_seconds / 3600:.2f} of {seconds / 3600:.2f}" if is_audio else ""
    recent = [mark for mark in found if now - mark.at < _WINDOW]
    if running and recent:
        span = max(now - min(mark.at - mark.seconds for mark in recent), 1.0)
        speed = sum(mark.audio_seconds for mark in recent) / span
        left = (seconds - done_seconds) / speed if speed else 0.0
        told.append(f"{speed:.0f} × real time over the last {span:.0f} s, {left / 3600:.1f} h left")
    return told + account.lines(total.rejected)
