"""Shards: the unit of work, commit and resume of a labelling job, and how their audio travels.

A shard is a run of manifest rows of about `shard_seconds` of audio, planned from the manifest alone. One shard is one
Ray Data block: its audio is one int16 buffer with lengths, never lists of floats.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.audio import decode
from spire_ray.manifest import reader

PLAN_FILE = "plan.parquet"
_UNKNOWN_SECONDS = 10.0
"""Assumed for a row without a duration."""


def plan(manifest: pa.Table, shard_seconds: float) -> pa.Table:
    """Manifest → shards: columns `shard`, `first` (row), `rows`, `seconds`."""
    durations = np.array([d if d is not None else _UNKNOWN_SECONDS for d in manifest["duration"].to_pylist()])
    shard = (np.cumsum(durations) - durations) // shard_seconds
    _, first, rows = np.unique(shard, return_index=True, return_counts=True)
    seconds = np.add.reduceat(durations, first) if len(durations) else durations
    return pa.table({"shard": np.arange(len(first)), "first": first, "rows": rows, "seconds": seconds})


class Decode:
    """Shard → its manifest rows with decoded audio; a Ray Data task.

    Out: one row with `shard`, `rows` (Arrow IPC of the manifest rows), `pcm` (int16 bytes), `lengths` (samples of each
    row, 0 where rejected) and `errors` (reason, or empty).
    """

    def __init__(self, manifest: str, max_seconds: float) -> None:
        self._manifest = manifest
        self._max_seconds = max_seconds

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        described = batch.to_pylist()[0]
        rows = reader.read(self._manifest).slice(described["first"], described["rows"])
        pcm, lengths, errors = [], [], []
        for row in rows.to_pylist():
            samples, error = self._load(row)
            pcm.append(samples)
            lengths.append(len(samples))
            errors.append(error)
        return pa.table(
            {
                "shard": [described["shard"]],
                "rows": pa.array([to_ipc(rows)], pa.large_binary()),
                "pcm": pa.array([np.concatenate(pcm).tobytes()], pa.large_binary()),
                "lengths": [lengths],
                "errors": [errors],
            }
        )

    def _load(self, row: dict[str, Any]) -> tuple[np.ndarray, str]:
        source = reader.audio_source(row["audio"])
        try:
            waveform = decode.load(source, row["offset"] or 0.0, row["duration"] if row["offset"] else None, self._max_seconds)
        except decode.AudioError as error:
            return np.zeros(0, np.int16), str(error)
        return decode.to_pcm(waveform), ""


def waveforms(shard: dict[str, Any]) -> list[np.ndarray]:
    """The decoded audio of a shard, float32; empty where decoding was refused."""
    samples = decode.from_pcm(np.frombuffer(shard["pcm"], np.int16))
    return np.split(samples, np.cumsum(shard["lengths"])[:-1])


def to_ipc(table: pa.Table) -> bytes:
    """A table without its audio as Arrow IPC."""
    sink = pa.BufferOutputStream()
    slim = table.drop_columns(["audio"])
    with pa.ipc.new_stream(sink, slim.schema) as writer:
        writer.write_table(slim)
    return bytes(sink.getvalue().to_pybytes())


def from_ipc(data: bytes) -> pa.Table:
    """Inverse of `to_ipc`."""
    return pa.ipc.open_stream(data).read_all()
