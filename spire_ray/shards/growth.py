"""How a plan grows: rows that were planned keep their shard and its number, rows beyond them get new ones."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import pyarrow as pa

from spire_ray.shards.shard import Located, Shard, Work, digest


def extended(tables: Located, old: list[Shard], work: Work) -> list[Shard]:
    """The old shards as their rows are now, and new ones for the rows beyond them.

    Raises ValueError where planned rows are gone, fewer, or others.
    """
    known = {name: list(shards) for name, shards in groupby(sorted(old, key=_place), lambda shard: shard.file)}
    found: list[Shard] = []
    for file, group in groupby(tables, lambda pair: pair[0]):
        found += _of_file(file, (table for _, table in group), known.pop(file, []), work)
    if known:
        raise ValueError(f"manifest: {next(iter(known))} was planned and is gone; put it back or choose another output")
    numbered = {_place(shard): shard.shard for shard in old}
    number, shards = max(numbered.values(), default=-1) + 1, []
    for shard in found:
        shards.append(replace(shard, shard=numbered.get(_place(shard), number)))
        number += _place(shard) not in numbered
    return sorted(shards, key=lambda shard: shard.shard)


def _place(shard: Shard) -> tuple[str, int, float]:
    return shard.file, shard.first, shard.begin or 0.0


def _of_file(file: str, tables: Iterable[pa.Table], old: list[Shard], work: Work) -> Iterator[Shard]:
    waiting: pa.Table | None = None
    first = 0
    sizes = [next(group).rows for _, group in groupby(old, lambda shard: shard.first)]
    for table in tables:
        waiting = (table if waiting is None else pa.concat_tables([waiting, table])).combine_chunks()
        amounts = work.amounts(waiting)
        start = 0
        while count := sizes[0] if sizes else _run(amounts[start:], work):
            if start + count > len(waiting):
                break
            yield from _checked(file, waiting.slice(start, count), amounts[start : start + count], first, work, old)
            sizes, start, first = sizes[1:], start + count, first + count
        waiting = waiting.slice(start)
    if sizes:
        raise ValueError(f"manifest: {file} has fewer rows than were planned; choose another output")
    if waiting is not None and len(waiting):
        yield from _checked(file, waiting, work.amounts(waiting), first, work, old)


def _run(amounts: np.ndarray, work: Work) -> int:
    """Rows of the next shard: as many as it takes to fill it, a long recording that is to be cut by itself; 0 if unknown."""
    filled = int(np.searchsorted(np.cumsum(amounts), work.limit)) + 1
    if work.cut and (long := np.flatnonzero(amounts[:filled] > work.limit)).size:
        return int(long[0]) or 1
    return filled if filled <= len(amounts) else 0


def _checked(file: str, rows: pa.Table, amounts: np.ndarray, first: int, work: Work, old: list[Shard]) -> Iterator[Shard]:
    ids = digest(rows, ("utt_id",))
    before = [shard for shard in old if shard.first == first]
    if before and before[0].ids != ids:
        raise ValueError(
            f"manifest: rows {first} to {first + len(rows) - 1} of {file} are not those that were planned; choose another output"
        )
    total = float(amounts.sum())
    whole = Shard(-1, file, first, len(rows), total, ids=ids)
    whole = replace(whole, digest=digest(rows, work.depends_on), carried=digest(rows, work.carries))
    if not work.cut or len(rows) > 1 or total <= work.limit:
        yield whole
        return
    for number in range(int(np.ceil(total / work.limit))):
        begin, end = number * work.limit, min(total, (number + 1) * work.limit)
        yield replace(whole, seconds=end - begin, begin=begin, end=end)
