"""One streaming reader for every kind of manifest.

A manifest is Parquet (a file, a folder of them) or of one of the `formats`. A brace range or a pattern names several files.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage
from spire_ray.manifest import formats, parquet, unique
from spire_ray.manifest.schema import AUDIO, Columns, check_columns, mapped, to_table

_BATCH, _BATCH_WITH_BYTES = 8192, 128
_SHOWN = 5
_DERIVED = re.compile(r"[0-9a-f]{20}")
_PLACE = r"(:\d+:\d+)?(#[^/]*)?$"
_ABSOLUTE = r"^(/|[a-zA-Z][a-zA-Z0-9+.-]*://)"


def files(uri: str) -> list[str]:
    """The files of a manifest in the order of their rows; of a folder without Parquet files the folder itself.

    Raises ValueError if one of them is not there.
    """
    found = []
    for file in storage.expand(uri):
        if storage.is_hub(file):
            found.append(file)
            continue
        if not storage.exists(file):
            raise ValueError(f"manifest={file}: not found")
        inside = parquet.files(file) if not file.endswith(".parquet") and storage.is_folder(file) else []
        found += inside or [file]
    return found


def is_parquet(file: str) -> bool:
    """Whether a file is read in place by runs of rows."""
    return file.endswith(".parquet")


def base(file: str) -> str:
    """The folder that the relative paths of a manifest's file begin at."""
    if is_parquet(file) or storage.is_hub(file) or not storage.is_folder(file):
        return _parent(file)
    return os.path.abspath(file) if storage.is_local(file) else file.rstrip("/")


def stream(uri: str, columns: Columns | None = None) -> Iterator[pa.Table]:
    """A manifest in tables of `schema.MANIFEST`, some thousand rows each; absent columns are null, audio paths resolved.

    `columns` maps a column of the manifest to the source's own name for it. Raises ValueError, naming the rows, for values of
    a wrong kind and negative durations and, at the end, for repeated ids.
    """
    for _, table in located(uri, columns or {}):
        yield table


def located(
    uri: str, columns: Columns, *, require: Sequence[str] = (), audio_bytes: bool = True, strict: bool = True
) -> Iterator[tuple[str, pa.Table]]:
    """As `stream`, each table with the file it is of. Raises ValueError too for rows without a column of `require`.

    Without `strict` wrong numbers of seconds are left to be the reasons that their rows are rejected for.
    """
    check_columns(columns)
    empty = True
    with unique.Hashes() as hashes:
        for file in files(uri):
            for table in _tables(file, columns, require, audio_bytes, strict):
                if strict:
                    _check_durations(table, uri)
                hashes.add(table["utt_id"].to_pylist())
                empty = empty and not len(table)
                yield file, table
        if empty:
            raise ValueError(f"manifest={uri}: holds no rows")
        if repeated := hashes.repeated():
            _name_repeated(uri, columns, repeated)


def read(uri: str, columns: Columns | None = None) -> pa.Table:
    """A manifest as one table."""
    return pa.concat_tables(stream(uri, columns))


def rows(file: str, columns: Columns, first: int, count: int, *, audio_bytes: bool = True) -> pa.Table:
    """Rows [first, first + count) of one Parquet file of a manifest."""
    return _resolved(parquet.rows(file, columns, first, count, audio_bytes), _parent(file))


def _tables(file: str, columns: Columns, require: Sequence[str], audio_bytes: bool, strict: bool) -> Iterator[pa.Table]:
    if is_parquet(file):
        for table in parquet.tables(file, columns, audio_bytes):
            if missing := [name for name in require if table[name].null_count == len(table)]:
                raise ValueError(f"{file}: no column {missing[0]!r} in any row; name it, as columns.{missing[0]}=ITS_NAME")
            yield _resolved(table, _parent(file))
        return
    found, above = formats.of(file).rows(file), ""
    while batch := list(islice(found, _BATCH_WITH_BYTES if storage.is_hub(file) else _BATCH)):
        named = [(place, mapped(row, columns, place)) for place, row in batch]
        above = above or _above(file, [row.get("audio") for _, row in named])
        for name in require:
            if missing := [place.removeprefix(f"{file}: ") for place, row in named if name not in row]:
                raise ValueError(f"{file}: no {name!r} in {_some(missing)}; name it, as columns.{name}=ITS_NAME")
        yield _resolved(to_table(named, strict), above)


def _above(file: str, audio: Sequence[Any]) -> str:
    """The folder that relative paths count from: that of the manifest, or, as in Lhotse, the working directory."""
    above = base(file)
    paths = (one.get("path") if isinstance(one, dict) else one for one in audio)
    first = next((str(path) for path in paths if path and not re.match(_ABSOLUTE, str(path))), None)
    if first is None or not storage.is_local(above):
        return above
    name = re.sub(_PLACE, "", first)
    return above if os.path.exists(os.path.join(above, name)) or not os.path.exists(name) else os.getcwd()


def _parent(file: str) -> str:
    """The folder that a file's relative paths begin at."""
    return os.path.dirname(os.path.abspath(file)) if storage.is_local(file) else file.rpartition("/")[0]


def _resolved(table: pa.Table, base: str) -> pa.Table:
    """Relative audio paths joined to the folder of the manifest."""
    audio = table["audio"].combine_chunks()
    path = pc.struct_field(audio, ["path"])
    joined = pc.binary_join_element_wise(base, path, "/")
    path = pc.if_else(pc.match_substring_regex(path, _ABSOLUTE), path, joined)
    resolved = pa.StructArray.from_arrays([pc.struct_field(audio, ["bytes"]), path], fields=list(AUDIO), mask=audio.is_null())
    return table.set_column(table.column_names.index("audio"), table.schema.field("audio"), resolved)


def _check_durations(table: pa.Table, uri: str) -> None:
    wrong = pc.or_kleene(pc.less(table["duration"], 0), pc.invert(pc.is_finite(table["duration"])))
    if pc.any(wrong).as_py():
        raise ValueError(f"manifest={uri}: negative duration: {_some(table['utt_id'].filter(wrong).to_pylist())}")


def _name_repeated(uri: str, columns: Columns, hashes: set[int]) -> None:
    """Count the ids behind repeated hashes in a second pass, and refuse those that are the same."""
    counts: Counter[str] = Counter()
    for file in files(uri):
        for table in _tables(file, columns, (), audio_bytes=False, strict=False):
            ids = table["utt_id"].to_pylist()
            paths = pc.struct_field(table["audio"].combine_chunks(), ["path"]).to_pylist()
            for utt_id, value, path in zip(ids, unique.of(ids).tolist(), paths, strict=True):
                if value in hashes:
                    counts[f"{path} twice, without one" if path and _DERIVED.fullmatch(utt_id) else utt_id] += 1
    if repeated := [utt_id for utt_id, count in counts.items() if count > 1]:
        raise ValueError(f"manifest={uri}: utt_id not unique: {_some(repeated)}")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")
