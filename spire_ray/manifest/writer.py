"""Manifests into the formats of the ecosystem."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from spire_ray.manifest import formats, parquet
from spire_ray.manifest.schema import Row


def write(uri: str, tables: Iterable[pa.Table], form: str) -> None:
    """Write tables of the manifest's schema in one of `formats.writable()`.

    Raises ValueError naming the row that a format cannot hold.
    """
    if form == "parquet":
        parquet.write(uri, tables)
        return
    made = formats.FORMATS[form].write if form in formats.FORMATS else None
    if made is None:
        raise ValueError(f"format={form}: must be one of {', '.join(formats.writable())}")
    made(uri, _rows(tables))


def _rows(tables: Iterable[pa.Table]) -> Iterator[Row]:
    for table in tables:
        yield from table.to_pylist()
