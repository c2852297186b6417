"""A manifest → shards: the unit of work, commit and resume of a labelling job, planned from the manifest alone.

A shard is a run of rows of one Parquet file with about `shard_seconds` of audio. Parquet manifests are planned in place; any
other is first written as Parquet beside the plan. The plan only grows: rows that were planned keep their shard, rows that were
added since get new ones.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray.core import storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.schema import Columns

PLAN_FILE = "plan.parquet"
_ROWS_FOLDER = "_manifest"
_UNKNOWN_SECONDS = 10.0
"""Assumed for a row without a duration."""
_LEAST_SECONDS = 0.1
"""Counted for a row at least, which bounds the rows of a shard."""
_ROWS_PER_FILE = 1 << 17
_SIGNATURE = b"signature"

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
    seconds: float
    begin: float | None = None
    """Second of a long recording that this shard begins at; it then holds that one row."""
    end: float | None = None
    digest: str = ""
    """Hash of the ids, offsets and durations of its rows."""


def plan(uri: str, columns: Columns, folder: str, shard_seconds: float, *, cut: bool = False) -> list[Shard]:
    """The shards of a manifest, from `folder/plan.parquet` where that is up to date, else planned in one streaming pass.

    With `cut` a row longer than a shard is spread over several. Raises ValueError for a manifest that is not in order, and for
    one whose planned rows are not the same any more.
    """
    place, signature = storage.join(folder, PLAN_FILE), signature_of(uri, columns)
    if storage.exists(place):
        table = tables.read(place)
        old = [Shard(**row) for row in table.to_pylist()]
        if (table.schema.metadata or {}).get(_SIGNATURE, b"").decode() == signature:
            return old
    else:
        old = []
    shards = _extended(located(uri, columns, folder), old, shard_seconds, cut)
    table = pa.Table.from_pylist([asdict(shard) for shard in shards], _SCHEMA)
    tables.write(place, table.replace_schema_metadata({_SIGNATURE: signature}))
    return shards


def is_planned(uri: str, columns: Columns, folder: str) -> bool:
    """Whether the plan in a folder is of the manifest as it is now."""
    place = storage.join(folder, PLAN_FILE)
    if not storage.exists(place):
        return False
    metadata = tables.read(place).schema.metadata or {}
    return bool(metadata.get(_SIGNATURE, b"").decode() == signature_of(uri, columns))


def planned(uri: str, columns: Columns, shard_seconds: float) -> Iterator[Shard]:
    """The shards that a manifest would have, without writing anything; for a dry run."""
    tables = reader.located(uri, columns, require=("audio",), audio_bytes=False)
    whole = ((uri, table) for _, table in tables)
    yield from _extended(whole, [], shard_seconds, cut=False)


def signature_of(uri: str, columns: Columns) -> str:
    """What changes when a manifest does: names, sizes and times of its files."""
    files = [
        storage.join(file, inside) if inside else file
        for file in reader.files(uri)
        for inside in (storage.walk(file) if storage.is_folder(file) else [""])
    ]
    facts = [dict(columns), [(file, storage.version(file)) for file in files]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def located(uri: str, columns: Columns, folder: str) -> Located:
    """Rows with the Parquet file they lie in; those that lie in none are written to `folder` on the way."""
    tables = reader.located(uri, columns, require=("audio",), audio_bytes=False)
    if all(reader.is_parquet(file) for file in reader.files(uri)):
        return tables
    return _imported((table for _, table in tables), storage.join(folder, _ROWS_FOLDER))


def check(shard: Shard, rows: pa.Table) -> None:
    """Raise ValueError if these are not the rows that were planned."""
    if _digest(rows) != shard.digest:
        last = shard.first + shard.rows - 1
        raise ValueError(f"manifest: rows {shard.first} to {last} of {shard.file} have changed since they were planned")


def columns_in(file: str, columns: Columns) -> Columns:
    """The mapping that applies to a planned file: none to one that was written beside the plan."""
    return {} if f"/{_ROWS_FOLDER}/" in file else columns


_SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("file", pa.string()),
        ("first", pa.int64()),
        ("rows", pa.int64()),
        ("seconds", pa.float64()),
        ("begin", pa.float64()),
        ("end", pa.float64()),
        ("digest", pa.string()),
    ]
)


def _imported(tables: Iterable[pa.Table], folder: str) -> Located:
    waiting: list[pa.Table] = []
    number = 0
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_PER_FILE:
            yield _written(waiting, folder, number)
            waiting, number = [], number + 1
    if waiting:
        yield _written(waiting, folder, number)


def _written(tables: Sequence[pa.Table], folder: str, number: int) -> tuple[str, pa.Table]:
    table, file = pa.concat_tables(tables), storage.join(folder, f"part-{number:06d}.parquet")
    with storage.new_file(file) as target:
        pq.write_table(table, target, compression="zstd", row_group_size=1 << 14)
    return file, table


def _extended(tables: Located, old: list[Shard], seconds: float, cut: bool) -> list[Shard]:
    """The old shards, checked against their rows, and new ones for the rows beyond them."""
    known = {file: list(shards) for file, shards in groupby(sorted(old, key=lambda s: (s.file, s.first)), lambda s: s.file)}
    found: list[Shard] = []
    for file, group in groupby(tables, lambda pair: pair[0]):
        found += _of_file(file, (table for _, table in group), known.pop(file, []), seconds, cut)
    if known:
        raise ValueError(f"manifest: {next(iter(known))} was planned and is gone; put it back or choose another output")
    numbered = {(shard.file, shard.first, shard.begin): shard.shard for shard in old}
    number, shards = max(numbered.values(), default=-1) + 1, []
    for shard in found:
        place = (shard.file, shard.first, shard.begin)
        shards.append(replace(shard, shard=numbered.get(place, number)))
        number += place not in numbered
    return sorted(shards, key=lambda shard: shard.shard)


def _of_file(file: str, tables: Iterable[pa.Table], old: list[Shard], seconds: float, cut: bool) -> Iterator[Shard]:
    waiting, first = pa.table({"utt_id": pa.array([], pa.string()), "offset": _NONE, "duration": _NONE}), 0
    sizes = [next(group).rows for _, group in groupby(old, lambda shard: shard.first)]
    for table in tables:
        waiting = pa.concat_tables([waiting, table.select(waiting.column_names)]).combine_chunks()
        lengths = _seconds(waiting)
        start = 0
        while count := sizes[0] if sizes else _run(lengths[start:], seconds, cut):
            if start + count > len(waiting):
                break
            yield from _checked(file, waiting.slice(start, count), lengths[start : start + count], first, seconds, cut, old)
            sizes, start, first = sizes[1:], start + count, first + count
        waiting = waiting.slice(start)
    if sizes:
        raise ValueError(f"manifest: {file} has fewer rows than were planned; choose another output")
    if len(waiting):
        yield from _checked(file, waiting, _seconds(waiting), first, seconds, cut, old)


_NONE = pa.array([], pa.float64())


def _run(lengths: np.ndarray, seconds: float, cut: bool) -> int:
    """Rows of the next shard: as many as it takes to fill it, a long recording that is to be cut by itself; 0 if unknown."""
    filled = int(np.searchsorted(np.cumsum(lengths), seconds)) + 1
    if cut and (long := np.flatnonzero(lengths[:filled] > seconds)).size:
        return int(long[0]) or 1
    return filled if filled <= len(lengths) else 0


def _checked(
    file: str, rows: pa.Table, lengths: np.ndarray, first: int, seconds: float, cut: bool, old: list[Shard]
) -> Iterator[Shard]:
    digest = _digest(rows)
    before = [shard for shard in old if shard.first == first]
    if before and before[0].digest != digest:
        raise ValueError(
            f"manifest: rows {first} to {first + len(rows) - 1} of {file} are not those that were planned; choose another output"
        )
    total = float(lengths.sum())
    if cut and len(rows) == 1 and total > seconds:
        for number in range(int(np.ceil(total / seconds))):
            begin, end = number * seconds, min(total, (number + 1) * seconds)
            yield Shard(-1, file, first, 1, end - begin, begin, end, digest)
    else:
        yield Shard(-1, file, first, len(rows), total, digest=digest)


def _seconds(rows: pa.Table) -> np.ndarray:
    durations = rows["duration"].to_numpy(zero_copy_only=False)
    return np.maximum(np.where(np.isnan(durations), _UNKNOWN_SECONDS, durations), _LEAST_SECONDS)


def _digest(rows: pa.Table) -> str:
    parts: list[Any] = ["\n".join(rows["utt_id"].to_pylist()).encode()]
    parts += [rows[name].to_numpy(zero_copy_only=False).tobytes() for name in ("offset", "duration")]
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
