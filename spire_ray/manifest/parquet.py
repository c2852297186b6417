"""Parquet manifests, of this platform and of the Hugging Face Hub, read in place by runs of rows."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spire_ray.audio.media import is_audio
from spire_ray.core import storage
from spire_ray.manifest.schema import AUDIO, LOCALE, MANIFEST, Columns, derived_id, with_text

_BATCH = 1 << 14
_KEPT_BYTES = 256 << 20
_LAST: dict[str, Any] = {}
"""The row groups that were read last: several shards lie in one, and a process often has them one after the other."""
_HUB_NAME = re.compile(r"(?:.*/)?(\w+?)-\d{5}-of-\d{5}(?:-\w+)?\.parquet")
"""`{split}-00000-of-00010.parquet`."""
_FEATURES = {"info": {"features": {"audio": {"_type": "Audio"}}}}


def files(folder: str) -> list[str]:
    """The `part-*.parquet` of a folder, else every Parquet file in it or in its `data`, else below; empty if there is none."""
    for place in (folder, storage.join(folder, "data")):
        names = [name for name in storage.listing(place) if name.endswith(".parquet")]
        parts = [name for name in names if name.startswith("part-")]
        if names:
            return [storage.join(place, name) for name in parts or names]
    below = storage.walk(folder)
    return (
        []
        if any(is_audio(name.rpartition(".")[2]) for name in below)
        else [storage.join(folder, name) for name in below if name.endswith(".parquet")]
    )


def tables(file: str, columns: Columns, audio_bytes: bool) -> Iterator[pa.Table]:
    """A file in tables of the manifest's schema; without audio bytes they are not read at all."""
    fs, path = storage.filesystem(file)
    with fs.open(path, "rb") as raw:
        parquet = _opened(raw, file)
        columns = with_text(columns, parquet.schema_arrow.names)
        first, audio = 0, columns.get("audio", "audio")
        for batch in parquet.iter_batches(_BATCH, columns=_needed(parquet.schema_arrow, columns, audio_bytes, file)):
            table = pa.Table.from_batches([batch])
            if audio in parquet.schema_arrow.names and audio not in table.column_names:  # it has bytes alone, which are not read
                table = table.append_column(audio, pa.array([{"path": None}] * len(table), pa.struct([AUDIO.field("path")])))
            yield _normalized(table, columns, file, first)
            first += len(batch)


def rows(file: str, columns: Columns, first: int, count: int, audio_bytes: bool = True) -> pa.Table:
    """Rows [first, first + count) of a file; only the row groups that hold them are read."""
    fs, path = storage.filesystem(file)
    with fs.open(path, "rb") as raw:
        parquet = _opened(raw, file)
        groups: list[int] = []
        start = begin = 0
        for number in range(parquet.num_row_groups):
            length = parquet.metadata.row_group(number).num_rows
            if start < first + count and start + length > first:
                begin = begin if groups else start
                groups.append(number)
            start += length
        columns = with_text(columns, parquet.schema_arrow.names)
        needed = _needed(parquet.schema_arrow, columns, audio_bytes, file)
        key = (file, storage.version(file), *groups, *needed)
        if _LAST.get("key") != key:
            _LAST.clear()
            whole = parquet.read_row_groups(groups, columns=needed, use_threads=False)
            _LAST.update({"key": key, "table": whole} if whole.nbytes <= _KEPT_BYTES else {"table": whole})
        table = _LAST["table"].slice(first - begin, count)
    if len(table) != count:
        raise ValueError(f"{file}: has {begin + len(table)} rows now, {first + count} were planned; it has changed")
    return _normalized(table, columns, file, first)


def _opened(raw: IO[bytes], file: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(raw)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: not a Parquet file: {error}") from None


def write(uri: str, manifest: Iterable[pa.Table]) -> None:
    """One file that the Hugging Face viewer plays."""
    schema = MANIFEST.with_metadata({"huggingface": json.dumps(_FEATURES)})
    with storage.new_file(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in manifest:
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=_BATCH)


def _needed(schema: pa.Schema, columns: Columns, audio_bytes: bool, file: str) -> list[str]:
    """Names of the source's columns that a manifest takes, nested ones dotted."""
    for name, source in columns.items():
        if source not in schema.names:
            raise ValueError(f"{file}: no column {source!r} for columns.{name}; there are {', '.join(schema.names)}")
    wanted = [*columns.values(), *(name for name in MANIFEST.names if name in schema.names and name not in columns)]
    audio = columns.get("audio", "audio")
    if audio in schema.names and pa.types.is_struct(schema.field(audio).type) and not audio_bytes:
        told = [field.name for field in schema.field(audio).type if field.name == "path"]
        return [name for name in wanted if name != audio] + [f"{audio}.path" for _ in told]
    return wanted


def _normalized(table: pa.Table, columns: Columns, file: str, first: int) -> pa.Table:
    made = {field.name: _column(table, field, columns, file) for field in MANIFEST}
    if made["split"].null_count == len(table) and (named := _HUB_NAME.fullmatch(file)):
        made["split"] = pa.array([named[1]] * len(table))
    if made["utt_id"].null_count:
        audio = columns.get("audio", "audio")
        embedded = audio in table.column_names and pa.types.is_struct(table[audio].type)
        made["utt_id"] = _ids(made, file, first, embedded)
    return pa.table(made, schema=MANIFEST)


def _column(table: pa.Table, field: pa.Field, columns: Columns, file: str) -> pa.Array:
    source = columns.get(field.name, field.name)
    if field.name == "translations":
        return _translations(table, source, columns, file)
    if source not in table.column_names:
        return pa.nulls(len(table), field.type)
    column = table[source].combine_chunks()
    if field.name == "audio":
        return _audio(column)
    try:
        cast = column.cast(field.type)
        return pc.utf8_lower(pc.replace_substring_regex(cast, LOCALE.pattern, r"\1")) if field.name == "language" else cast
    except pa.ArrowException as error:
        raise ValueError(f"{file}: column {source!r} is no {field.type}: {error}") from None


def _audio(column: pa.Array) -> pa.Array:
    """Structs with a path and bytes, or plain paths."""
    if not pa.types.is_struct(column.type):
        return pa.StructArray.from_arrays([pa.nulls(len(column), pa.binary()), column.cast(pa.string())], fields=list(AUDIO))
    parts = {field.name: field for field in column.type}
    arrays = [
        pc.struct_field(column, [part.name]).cast(part.type) if part.name in parts else pa.nulls(len(column), part.type)
        for part in AUDIO
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(AUDIO), mask=column.is_null())


def _tells_languages(kind: pa.DataType) -> bool:
    """Whether a column of this kind says which text is of which language."""
    if pa.types.is_map(kind) or pa.types.is_null(kind):
        return True
    if pa.types.is_struct(kind):
        return all(_is_text(field.type) for field in kind)
    pairs = pa.types.is_list(kind) and pa.types.is_list(kind.value_type)
    return pairs and _is_text(kind.value_type.value_type)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _translations(table: pa.Table, source: str, columns: Columns, file: str) -> pa.Array:
    """A map, a struct of languages or a list of pairs of texts, and columns mapped to `translations.LANGUAGE`.

    Raises ValueError for a column of another kind: which of its fields is the language would be a guess.
    """
    single = {name.partition(".")[2]: source for name, source in columns.items() if name.startswith("translations.")}
    kind = MANIFEST.field("translations").type
    if not single and source in table.column_names and table[source].type == kind:
        return table[source].combine_chunks()
    if not single and source not in table.column_names:
        return pa.nulls(len(table), kind)
    given = table[source].to_pylist() if source in table.column_names else [None] * len(table)
    if source in table.column_names and not _tells_languages(table[source].type):
        raise ValueError(
            f"{file}: column {source!r} is {table[source].type}; expected a map or struct of languages and texts, or lists of two"
        )
    singles = {code: table[name].to_pylist() for code, name in single.items()}
    rows: list[list[tuple[str, Any]]] = []
    for number, value in enumerate(given):
        pairs = dict(value or ()) | {code: texts[number] for code, texts in singles.items()}
        rows.append([(code, text) for code, text in pairs.items() if text is not None])
    return pa.array(rows, kind)


def _ids(made: dict[str, pa.Array], file: str, first: int, embedded: bool) -> pa.Array:
    """Ids with the missing ones derived.

    Bytes are told apart by file name and row: the path beside them, if there is one, is a name that may occur in every folder.
    """
    name = file.rpartition("/")[2]
    paths = [
        path if path and not (embedded and "/" not in path) else f"{name}#{first + row}"
        for row, path in enumerate(pc.struct_field(made["audio"], ["path"]).to_pylist())
    ]
    given = zip(made["utt_id"].to_pylist(), paths, made["offset"].to_pylist(), made["duration"].to_pylist(), strict=True)
    return pa.array([utt_id or derived_id(*more) for utt_id, *more in given], pa.string())
