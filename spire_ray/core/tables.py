"""Parquet files, local or in a bucket."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spire_ray.core import storage


def parts(folder: str) -> list[str]:
    """The `part-*.parquet` of a folder in the order of their names."""
    names = [name for name in storage.listing(folder) if name.startswith("part-") and name.endswith(".parquet")]
    return [storage.join(folder, name) for name in names]


def read(uri: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """A Parquet file, or all `part-*.parquet` of a folder in the order of their names; `filters` are pyarrow's."""
    fs, path = storage.filesystem(uri)
    files = [path] if path.endswith(".parquet") else [storage.join(path, part.rpartition("/")[2]) for part in parts(uri)]
    if not files:
        raise ValueError(f"{uri}: no part-*.parquet there")
    return pa.concat_tables([pq.read_table(file, columns=columns, filters=filters, filesystem=fs) for file in files])


def write(uri: str, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file whole or not at all."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=row_group_size)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


def rows(uri: str) -> int:
    """Rows of a Parquet file, from its footer."""
    fs, path = storage.filesystem(uri)
    with fs.open(path, "rb") as file:
        return int(pq.read_metadata(file).num_rows)
