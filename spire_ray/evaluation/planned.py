"""The rows of a test set as they are asked about: planned by shards, and written beside the plan."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray.core import storage, tables
from spire_ray.evaluation.test_set import Recording, Row
from spire_ray.shards import growth, planning
from spire_ray.shards.shard import ROWS_FOLDER, Shard, Work

_FILE = "part-000000.parquet"
_SAID = "said"
_AUDIO = pa.struct([("bytes", pa.large_binary()), ("path", pa.string()), ("at", pa.float64()), ("length", pa.float64())])
_UNITS = pa.list_(pa.uint16())
_SCHEMA = pa.schema(
    [
        ("utt_id", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("translation", pa.string()),
        ("units", _UNITS),
        ("another", _UNITS),
        ("audio", _AUDIO),
        ("shots", pa.list_(pa.list_(pa.string()))),
        ("tokens", pa.list_(pa.string())),
        ("tags", pa.string()),
        ("draft", pa.string()),
        ("corpus", pa.string()),
        ("speaker", pa.string()),
        ("duration", pa.float64()),
        ("frames", pa.int64()),
    ]
)


def plan(folder: str, rows: Sequence[Row], rows_per_shard: int) -> tuple[list[Row], list[Shard]]:
    """The rows in the order of the plan, and their shards: rows that a folder has asked about keep theirs, new ones get others.

    Raises ValueError where rows that were asked about are gone.
    """
    place = storage.join(folder, ROWS_FOLDER, _FILE)
    asked = tables.read(place, ["utt_id"])["utt_id"].to_pylist() if storage.exists(place) else []
    found = {row.utt_id: row for row in rows}
    if gone := [utt_id for utt_id in asked if utt_id not in found]:
        raise ValueError(
            f"output={folder}: rows that were asked about are gone from the test set, {len(gone)} such as {gone[0]}; "
            "choose another output"
        )
    ordered = [found.pop(utt_id) for utt_id in asked] + list(found.values())
    said = pa.table({"utt_id": [row.utt_id for row in ordered], _SAID: [digest(row) for row in ordered]})
    work = Work((_SAID,), limit=rows_per_shard)
    return ordered, growth.extended(iter([(storage.absolute(place), said)]), planning.read(folder), work)


def write(folder: str, rows: Sequence[Row], shards: Sequence[Shard]) -> None:
    """Keep both."""
    table = pa.Table.from_pylist([_as_row(row) for row in rows], _SCHEMA)
    tables.write(storage.join(folder, ROWS_FOLDER, _FILE), table, row_group_size=max(shard.rows for shard in shards))
    planning.write(folder, shards)


def read(shard: Shard) -> list[Row]:
    """The rows of a shard; no others are read from the disk than those that lie in row groups with them."""
    fs, path = storage.filesystem(shard.file)
    with fs.open(path, "rb") as raw:
        file, first, groups = pq.ParquetFile(raw), 0, []
        skipped = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if first < shard.first + shard.rows and first + count > shard.first:
                groups.append(number)
            elif not groups:
                skipped += count
            first += count
        table = file.read_row_groups(groups)
    return [_of_row(row) for row in table.slice(shard.first - skipped, shard.rows).to_pylist()]


def ids(shard: Shard) -> list[str]:
    """The ids of the rows of a shard."""
    return list(tables.read(shard.file, ["utt_id"]).slice(shard.first, shard.rows)["utt_id"].to_pylist())


def digest(row: Row) -> str:
    """Of all that is asked about a row, that answers are held against, and that is told of it; not of where its audio lies."""
    said = (row.utt_id, row.language, row.text, row.translation, row.shots, row.tokens, row.tags, row.draft)
    told = (row.corpus, row.speaker, row.duration, row.frames, _heard(row.audio) if row.audio else ())
    hashed = hashlib.sha256(json.dumps([said, told], ensure_ascii=False).encode())
    for units in (row.units, row.another):
        hashed.update(b"\0" if units is None else units.tobytes())
    return hashed.hexdigest()[:20]


def _heard(recording: Recording) -> tuple[Any, ...]:
    """A corpus may be moved: of a path the name of the file counts."""
    source = recording.source
    name = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source.rpartition("/")[2]
    return name, recording.offset, recording.duration


def _as_row(row: Row) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in _SCHEMA.names}
    if row.audio:
        source = row.audio.source
        inside = {"bytes": source} if isinstance(source, bytes) else {"path": source}
        found["audio"] = inside | {"at": row.audio.offset, "length": row.audio.duration}
    return found


def _of_row(row: dict[str, Any]) -> Row:
    made = dict(row)
    if audio := row["audio"]:
        source = audio["path"] if audio["bytes"] is None else audio["bytes"]
        made["audio"] = Recording(source, audio["at"], audio["length"])
    for name in ("units", "another"):
        made[name] = None if row[name] is None else np.asarray(row[name], np.uint16)
    for name in ("shots", "tokens"):
        made[name] = tuple(tuple(each) if isinstance(each, list) else each for each in row[name])
    return Row(**made)
