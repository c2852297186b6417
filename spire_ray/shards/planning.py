"""Rows → shards: the unit of work, commit and resume of a job, planned from its input alone.

A shard is a run of rows of one Parquet file. Parquet manifests are planned in place; any other is first written as Parquet
beside the plan. The plan only grows (`growth`): rows that were planned keep their shard, rows that were added get new ones.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spire_ray.core import copies, storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.formats import hub
from spire_ray.manifest.schema import Columns
from spire_ray.shards import growth
from spire_ray.shards.shard import PATH, ROWS_FOLDER, SCHEMA, Located, Shard, labelling

PLAN_FILE = "plan.parquet"
_ROWS_PER_FILE, _ROWS_PER_GROUP = 1 << 17, 1 << 10
_BYTES_PER_FILE, _BYTES_PER_GROUP = 1 << 30, 1 << 25
"""With the audio inside."""
_SIGNATURE = b"signature"


def read(folder: str) -> list[Shard]:
    """The plan of a folder, wherever that lies now; empty where there is none yet."""
    place = storage.join(folder, PLAN_FILE)
    rows = tables.read(place).to_pylist() if storage.exists(place) else []
    inside = [not row["file"].startswith("/") and storage.is_local(row["file"]) for row in rows]
    files = [storage.join(folder, row["file"]) if below else row["file"] for row, below in zip(rows, inside, strict=True)]
    return [Shard(**{**row, "file": storage.absolute(file)}) for row, file in zip(rows, files, strict=True)]


def write(folder: str, shards: Sequence[Shard], signature: str = "") -> None:
    """Keep a plan. Files below the folder are named from there, others in full."""
    above = f"{storage.absolute(folder).rstrip('/')}/"
    rows = [asdict(replace(shard, file=storage.absolute(shard.file).removeprefix(above))) for shard in shards]
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({_SIGNATURE: signature})
    tables.write(storage.join(folder, PLAN_FILE), table)


def plan(
    uri: str, columns: Columns, folder: str, shard_seconds: float, *, cut: bool = False, depends_on: Sequence[str] = ()
) -> list[Shard]:
    """The shards of a manifest, from `folder/plan.parquet` where that is up to date, else planned in one streaming pass.

    With `cut` a row longer than a shard is spread over several; rows that differ in `depends_on` are others. Raises
    ValueError, and leaves the folder as it is, for a manifest that is not in order, and for one whose planned rows are not there
    any more.
    """
    signature = signature_of(uri, columns)
    old = read(folder)
    if old and signature == _signature(folder):
        return old
    with tempfile.TemporaryDirectory(prefix="spire-plan-") as new:
        shards = growth.extended(_located(uri, columns, folder, new), old, labelling(shard_seconds, cut, depends_on))
        if storage.listing(new):
            copies.upload(new, storage.join(folder, ROWS_FOLDER))
    write(folder, shards, signature)
    return shards


def is_planned(uri: str, columns: Columns, folder: str) -> bool:
    """Whether the plan in a folder is of the manifest as it is now."""
    return storage.exists(storage.join(folder, PLAN_FILE)) and _signature(folder) == signature_of(uri, columns)


def planned(uri: str, columns: Columns, shard_seconds: float) -> Iterator[Shard]:
    """The shards that a manifest would have, without writing anything; for a dry run."""
    whole = ((uri, table) for _, table in _tables(uri, columns))
    yield from growth.extended(whole, [], labelling(shard_seconds))


def signature_of(uri: str, columns: Columns) -> str:
    """What changes when a manifest does: names, sizes and times of its files."""
    found = reader.files(uri)
    of_hub = [(file, hub.version(file)) for file in found if storage.is_hub(file)]
    files = [
        storage.join(file, inside) if inside else file
        for file in found
        if not storage.is_hub(file)
        for inside in (storage.walk(file) if storage.is_folder(file) else [""])
    ]
    facts = [dict(columns), [(storage.absolute(file), storage.version(file)) for file in files], *([of_hub] if of_hub else [])]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def columns_in(file: str, columns: Columns) -> Columns:
    """The mapping that applies to a planned file: none to one that was written beside the plan."""
    return {} if f"/{ROWS_FOLDER}/" in file else columns


def _signature(folder: str) -> str:
    metadata = tables.read(storage.join(folder, PLAN_FILE)).schema.metadata or {}
    return str(metadata.get(_SIGNATURE, b"").decode())


def _located(uri: str, columns: Columns, folder: str, new: str) -> Located:
    """Rows with the Parquet file they lie in, those that lie in none with the one below `folder` that is made in `new`."""
    if all(reader.is_parquet(file) for file in reader.files(uri)):
        return _tables(uri, columns)
    imported = _imported((table for _, table in _tables(uri, columns)), new)
    place = storage.join(storage.absolute(folder), ROWS_FOLDER)
    return ((storage.join(place, name), table) for name, table in imported)


def _tables(uri: str, columns: Columns) -> Located:
    """Rows of a manifest, with the path of their audio from the folder of the manifest on: a corpus may be moved."""
    for file, table in reader.located(uri, columns, require=("audio",), audio_bytes=False, strict=False):
        path = pc.struct_field(table["audio"].combine_chunks(), ["path"])
        above = f"{reader.base(file)}/"
        inside = pc.utf8_slice_codeunits(path, len(above))
        yield storage.absolute(file), table.append_column(PATH, pc.if_else(pc.starts_with(path, above), inside, path))


def _imported(tables: Iterable[pa.Table], folder: str) -> Located:
    waiting: list[pa.Table] = []
    number = 0
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_PER_FILE or sum(one.nbytes for one in waiting) >= _BYTES_PER_FILE:
            yield _written(waiting, folder, number)
            waiting, number = [], number + 1
    if waiting:
        yield _written(waiting, folder, number)


def _written(tables: Sequence[pa.Table], folder: str, number: int) -> tuple[str, pa.Table]:
    table, name = pa.concat_tables(tables), f"part-{number:06d}.parquet"
    rows = table.drop_columns([PATH])
    of_bytes = max(1, _BYTES_PER_GROUP * len(rows) // max(1, rows.nbytes))
    pq.write_table(rows, storage.join(folder, name), compression="zstd", row_group_size=min(_ROWS_PER_GROUP, of_bytes))
    return name, table
