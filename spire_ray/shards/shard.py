"""A shard, the unit of work, commit and resume: which rows it holds, and what they were when they were planned."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.manifest.schema import MANIFEST

ROWS_FOLDER = "_manifest"
"""Where rows are written that lie in no Parquet file."""
PATH = "path"
"""Of audio, from the folder of its manifest on."""
_UNKNOWN_SECONDS = 10.0
"""Assumed for a row without a duration."""
_LEAST_SECONDS = 0.1
"""Counted for a row at least, which bounds the rows of a shard."""

Located = Iterator[tuple[str, pa.Table]]
"""Tables of rows, in order, with the Parquet file they lie in."""


@dataclass(frozen=True)
class Shard:
    """One row of the plan."""

    shard: int
    file: str
    first: int
    """Row of the file it begins with."""
    rows: int
    seconds: float = 0.0
    """Of audio; or what else the job counts as its work."""
    begin: float | None = None
    """Second of a long recording that this shard begins at; it then holds that one row."""
    end: float | None = None
    ids: str = ""
    """Hash of the ids of its rows, which must stay as they are."""
    digest: str = ""
    """Hash of the columns that its result depends on; where they change, it is made anew."""
    carried: str = ""
    """Hash of the columns that are carried along; where they change, they are taken over."""

    @staticmethod
    def of(row: Mapping[str, Any]) -> "Shard":
        """From a row that may say more."""
        return Shard(**{field.name: row[field.name] for field in fields(Shard)})


SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("file", pa.string()),
        ("first", pa.int64()),
        ("rows", pa.int64()),
        ("seconds", pa.float64()),
        ("begin", pa.float64()),
        ("end", pa.float64()),
        ("ids", pa.string()),
        ("digest", pa.string()),
        ("carried", pa.string()),
    ]
)


@dataclass(frozen=True)
class Work:
    """What a job makes of rows, as far as its plan asks."""

    depends_on: tuple[str, ...]
    """Columns that its result depends on."""
    carries: tuple[str, ...] = ()
    """Columns that go along."""
    limit: float = 1.0
    """How much of it fills a shard."""
    cut: bool = False
    """Whether a row of more than a shard is spread over several."""

    def amounts(self, rows: pa.Table) -> np.ndarray:
        """How much each row is: seconds; where the work does not depend on a duration, one."""
        if "duration" not in self.depends_on:
            return np.ones(len(rows))
        durations = rows["duration"].to_numpy(zero_copy_only=False)
        return np.maximum(np.where(np.isnan(durations), _UNKNOWN_SECONDS, durations), _LEAST_SECONDS)


def labelling(shard_seconds: float, cut: bool = False, depends_on: Sequence[str] = ()) -> Work:
    """The work of hearing: what is heard decides its result, and some columns more; all others go along."""
    decide = ("offset", "duration", *depends_on)
    carries = tuple(name for name in MANIFEST.names if name not in ("utt_id", "audio", *decide))
    return Work((PATH, *decide), carries, shard_seconds, cut)


def check(shard: Shard, rows: pa.Table) -> None:
    """Raise ValueError if these are not the rows that were planned."""
    if digest(rows, ("utt_id",)) != shard.ids:
        last = shard.first + shard.rows - 1
        raise ValueError(f"manifest: rows {shard.first} to {last} of {shard.file} have changed since they were planned")


def digest(rows: pa.Table, names: Sequence[str]) -> str:
    """Hash of some columns of rows, however the rows lie in memory."""
    found = hashlib.blake2b(digest_size=8)
    for name in names:
        column = rows[name].combine_chunks()
        if pa.types.is_floating(column.type):
            column = pc.fill_null(column, float("-inf"))
        batch = pa.record_batch([column], ["column"])
        found.update(batch.serialize())
    return found.hexdigest()
