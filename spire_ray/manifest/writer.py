"""Manifests into the formats of the ecosystem."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from spire_ray.manifest import fairseq, folder, jsonl, lhotse, parquet, webdataset
from spire_ray.manifest.schema import Row

FORMATS = ("parquet", "nemo", "lhotse", "fairseq", "webdataset", "folder")


def write(uri: str, tables: Iterable[pa.Table], form: str) -> None:
    """Write tables of the manifest's schema in one of `FORMATS`.

    Raises ValueError naming the row that a format cannot hold.
    """
    match form:
        case "parquet":
            parquet.write(uri, tables)
        case "nemo":
            jsonl.write_lines(uri, jsonl.to_nemo(_rows(tables)))
        case "lhotse":
            jsonl.write_lines(uri, lhotse.to_cuts(_rows(tables)))
        case "fairseq":
            fairseq.write(uri, _rows(tables))
        case "webdataset":
            webdataset.write(uri, _rows(tables))
        case "folder":
            folder.write(uri, _rows(tables))
        case _:
            raise ValueError(f"format={form}: must be one of {', '.join(FORMATS)}")


def _rows(tables: Iterable[pa.Table]) -> Iterator[Row]:
    for table in tables:
        yield from table.to_pylist()
