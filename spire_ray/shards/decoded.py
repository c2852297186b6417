"""A shard of audio that has been decoded, and how it travels to the encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.manifest.schema import MANIFEST, Row
from spire_ray.settings import SAMPLE_RATE

NOTHING = np.zeros(0, np.int16)
"""The samples of a row that is rejected."""
_ROWS = pa.schema([field for field in MANIFEST if field.name != "audio"])

Clip = tuple[Row, np.ndarray, str]
"""A row or a piece of one, its samples, and why there are none."""


@dataclass(frozen=True)
class Decoded:
    """The audio of a shard on its way to the encoder."""

    shard: int
    rows: pa.Table
    """Manifest rows without audio."""
    samples: list[np.ndarray]
    """int16 PCM of each row; none where it is rejected."""
    errors: list[str]
    """Why a row is rejected; empty where it is not."""
    again: bool = False
    """Whether these are rows of a part that are tried again, not all of it."""
    digest: str = ""
    carried: str = ""
    """Hashes of the shard as it was planned."""
    heard: str = ""
    source: str = ""
    """Hash of the audio inside its rows, and the version of their file."""

    @staticmethod
    def of(shard: int, clips: Sequence[Clip], *more: Any) -> "Decoded":
        """Of rows as they were heard, which have a duration then; `more` are the other fields."""
        rows = pa.Table.from_pylist([{name: row[name] for name in _ROWS.names} for row, *_ in clips], _ROWS)
        return Decoded(shard, rows, [samples for _, samples, _ in clips], [error for *_, error in clips], *more)

    @staticmethod
    def nothing(shard: int) -> "Decoded":
        """Of a shard that is not decoded here."""
        return Decoded(shard, _ROWS.empty_table(), [NOTHING], [])

    def to_table(self) -> pa.Table:
        """One row, as Ray carries it: samples one buffer, never lists of numbers."""
        pcm = np.concatenate(self.samples)
        return pa.table(
            {
                "shard": [self.shard],
                "rows": pa.array([_to_ipc(self.rows)], pa.large_binary()),
                "pcm": pa.LargeListArray.from_arrays([0, len(pcm)], pcm),
                "lengths": [[len(samples) for samples in self.samples]],
                "errors": pa.array([self.errors], pa.list_(pa.string())),
                "again": [self.again],
                "digest": [self.digest],
                "carried": [self.carried],
                "heard": [self.heard],
                "source": [self.source],
            }
        )

    @staticmethod
    def from_table(table: pa.Table) -> "Decoded":
        """Inverse of `to_table`; the samples are not copied."""
        row = {name: table[name][0] for name in table.column_names if name != "pcm"}
        pcm = table["pcm"].chunk(0).flatten().to_numpy()
        samples = np.split(pcm, np.cumsum(row["lengths"].as_py())[:-1])
        rows = pa.ipc.open_stream(row["rows"].as_buffer()).read_all()
        more = (row[name].as_py() for name in ("errors", "again", "digest", "carried", "heard", "source"))
        return Decoded(row["shard"].as_py(), rows, samples, *more)

    def refuse_shorter(self, shortest: int) -> None:
        """Reject rows with fewer samples than make a frame of the encoder."""
        for i, samples in enumerate(self.samples):
            if not self.errors[i] and len(samples) < shortest:
                self.errors[i] = f"shorter than one frame: {len(samples)} of {shortest} samples"

    def refuse_other_lengths(self, tolerance: float) -> None:
        """Reject rows that are so many seconds longer or shorter than their manifest says."""
        for i, stated in enumerate(self.rows["duration"].to_pylist()):
            seconds = len(self.samples[i]) / SAMPLE_RATE
            if not self.errors[i] and abs(seconds - stated) > tolerance:
                self.errors[i] = other_length(seconds, stated)


def other_length(seconds: float, stated: float) -> str:
    """The reason of a recording that is longer or shorter than its manifest says."""
    return f"another length: {seconds:.2f} s are heard, the manifest says {stated:.2f} s"


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
