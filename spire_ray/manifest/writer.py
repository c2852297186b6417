"""Manifests into the formats of the ecosystem."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from spire_ray.audio.source import AudioError
from spire_ray.manifest import formats, parquet
from spire_ray.manifest.schema import Row


def write(uri: str, tables: Iterable[pa.Table], form: str) -> None:
    """Write tables of the manifest's schema in one of `formats.writable()`.

    Raises ValueError naming the row that a format cannot hold, or whose audio it cannot read.
    """
    if form == "parquet":
        parquet.write(uri, tables)
        return
    made = formats.FORMATS[form].write if form in formats.FORMATS else None
    if made is None:
        raise ValueError(f"format={form}: must be one of {', '.join(formats.writable())}")
    at = ""

    def rows() -> Iterator[Row]:
        nonlocal at
        for table in tables:
            for row in table.to_pylist():
                at = row["utt_id"]
                yield row

    try:
        made(uri, rows())
    except AudioError as error:
        raise ValueError(f"{at}: {error}") from None
