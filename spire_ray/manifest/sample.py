"""A seeded sample of a manifest: whole utterances, so many hours of each corpus, no more of one speaker than allowed.

A row's place in the draw is a hash of its id and the seed: the same rows come out in whatever order and files they lie. The
manifest is streamed; what is kept at a time is a few times the sample, without audio.
"""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.manifest import parquet, reader, splits
from spire_ray.manifest.schema import EVERY_SPLIT, Columns, Row, in_split

_KEPT = ("utt_id", "duration", "speaker")
_KEY = "key"
_ROWS_AT_ONCE = 64
"""In one row group of the sample: a shard reads whole groups, with the audio of their rows."""
_UNKNOWN_SECONDS = 10.0
"""Assumed for a row without a duration."""


def chance(utt_id: str, seed: int, use: str) -> float:
    """A number in [0, 1) that belongs to an utterance, a seed and a use."""
    digest = hashlib.blake2b(f"{use}|{seed}|{utt_id}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 256**7


@dataclass
class _Pool:
    """The rows of one corpus that are drawn so far."""

    seconds: float
    speaker_seconds: float
    tables: list[pa.Table] = field(default_factory=list)
    waiting: float = 0.0
    kept: float = 0.0
    """Seconds that were left when it was last thinned out."""

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        self.waiting += float(table["duration"].to_numpy().sum())
        if self.waiting > 4 * self.seconds + self.kept:
            self.tables = [self.drawn(whatever_follows=True)]
            self.kept = self.waiting = float(self.tables[0]["duration"].to_numpy().sum())

    def drawn(self, whatever_follows: bool = False) -> pa.Table:
        """The rows with the smallest keys that make up the seconds, at least one.

        `whatever_follows`: those of them, and of the rows behind, that may be drawn once more rows have come. A later row with
        a smaller key may shut out a longer one of its speaker, so that of a speaker no more counts then than the limit: the
        sum up to a key never falls, and what lies behind the seconds stays there.
        """
        rows = pa.concat_tables(self.tables).sort_by(_KEY)
        durations, speakers = rows["duration"].to_numpy(), rows["speaker"].to_pylist()
        spoken: dict[str, float] = defaultdict(float)
        total = 0.0
        chosen: list[int] = []
        for number, speaker in enumerate(speakers):
            counted = float(durations[number])
            if chosen and total + (0 if whatever_follows else counted) > self.seconds:
                break
            if speaker and self.speaker_seconds:
                left = self.speaker_seconds - spoken[speaker]
                spoken[speaker] += counted
                if left <= 0:
                    continue
                counted = min(counted, left) if whatever_follows else counted
            total += counted
            chosen.append(number)
        return rows.take(chosen)


def draw(
    uri: str,
    split: str,
    seconds: float,
    seed: int,
    weights: Mapping[str, float] | None = None,
    speaker_seconds: float = 0.0,
    columns: Columns | None = None,
) -> dict[str, pa.Table]:
    """Corpus → its drawn rows (`utt_id`, `duration`, `speaker`), in the order of the draw; all under "" without weights.

    `weights` names the share of each corpus in the seconds; a corpus that is not named brings nothing. `speaker_seconds` is
    the most that is taken before a speaker is shut out, 0 for no limit. Raises ValueError where nothing can be drawn.
    """
    whole = sum((weights or {}).values())
    shares = {name: weight / whole for name, weight in (weights or {}).items()} or {"": 1.0}
    pools = {name: _Pool(share * seconds, speaker_seconds) for name, share in shares.items()}
    seen: set[str] = set()
    for _, table in reader.located(uri, columns or {}, require=("audio",), audio_bytes=False, strict=False):
        table = table if split == EVERY_SPLIT else table.filter(pc.fill_null(pc.equal(table["split"], split), False))
        corpora = pc.fill_null(table["corpus"], "") if weights else pa.array([""] * len(table))
        for name in pc.unique(corpora).to_pylist():
            seen.add(name)
            if name in pools:
                pools[name].add(_keyed(table.filter(pc.equal(corpora, name)), seed))
    if not seen:
        raise ValueError(splits.missing(split, uri))
    if absent := sorted(set(pools) - seen):
        raise ValueError(f"weights: no row of the split {split} is of {', '.join(absent)}; there are {', '.join(sorted(seen))}")
    return {name: pool.drawn() for name, pool in pools.items()}


def some(
    uri: str, count: int, seed: int, use: str, columns: Columns | None = None, split: str = EVERY_SPLIT, utt_id: str = ""
) -> tuple[list[Row], int]:
    """So many rows of a split with their audio, by lot and in its order, or the one of an id; and how many there are.

    Of a Parquet file no audio but theirs is read.
    """
    keys: list[tuple[float, str, str, int]] = []
    first: Counter[str] = Counter()
    total = 0
    for file, table in reader.located(uri, columns or {}, audio_bytes=False, strict=False):
        rows = enumerate(zip(table["utt_id"].to_pylist(), table["split"].to_pylist(), strict=True), first[file])
        mine = [(name, number) for number, (name, given) in rows if in_split(given, split) and utt_id in ("", name)]
        keys = heapq.nsmallest(count, chain(keys, ((chance(name, seed, use), name, file, number) for name, number in mine)))
        total += len(mine)
        first[file] += len(table)
    names = pa.array([name for _, name, file, _ in keys if not reader.is_parquet(file)], pa.string())
    found: list[Row] = []
    for _, _, file, number in keys:
        found += reader.rows(file, columns or {}, number, 1).to_pylist() if reader.is_parquet(file) else []
    for _, table in reader.located(uri, columns or {}, strict=False) if len(names) else ():
        found += table.filter(pc.is_in(table["utt_id"], names)).to_pylist()
    places = {name: place for place, (_, name, _, _) in enumerate(keys)}
    return sorted(found, key=lambda row: places[row["utt_id"]]), total


def write(uri: str, chosen: Iterable[str], target: str, columns: Columns | None = None) -> int:
    """Write the rows of these ids, audio included, as one Parquet file in the manifest's order; returns their number."""
    ids = pa.array(sorted(chosen), pa.string())

    def rows() -> Iterator[pa.Table]:
        for _, table in reader.located(uri, columns or {}, strict=False):
            found = table.filter(pc.is_in(table["utt_id"], ids))
            yield from (found.slice(first, _ROWS_AT_ONCE) for first in range(0, len(found), _ROWS_AT_ONCE))

    parquet.write(target, rows())
    return len(ids)


def _keyed(table: pa.Table, seed: int) -> pa.Table:
    rows = table.select(_KEPT)
    given = pc.fill_null(rows["duration"], _UNKNOWN_SECONDS)
    seconds = pc.if_else(pc.greater(given, 0), given, 0.0)  # what is no length, its row will be rejected for
    keys = np.array([chance(utt_id, seed, "sample") for utt_id in rows["utt_id"].to_pylist()])
    return rows.set_column(1, "duration", seconds).append_column(_KEY, pa.array(keys))
