"""Files of a corpus, in its own layout → rows of the manifest with `text_raw` and, for instructions, `conversations`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from spire_ray.corpora import layouts
from spire_ray.corpora.catalogue import Corpus
from spire_ray.corpora.columns import ROWS, mapped
from spire_ray.corpora.preparation import Casing, Unfit, prepare
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import table

__all__ = ["ROWS", "prepared", "read"]

_BATCH = 512


def prepared(corpus: Corpus, rows: Iterator[dict[str, Any]], casing: Casing) -> Iterator[dict[str, Any]]:
    """Rows with their text prepared; one without usable text has `error` instead."""
    for row in rows:
        if row.get("conversations"):
            yield row
            continue
        try:
            yield {**row, "text": prepare(row["text_raw"], corpus.preparation, casing)}
        except Unfit as reason:
            yield {**row, "text": None, "error": str(reason)}


def read(corpus: Corpus, place: Path, split: str) -> Iterator[dict[str, Any]]:
    """Rows of one split: `place` is a file, or the folder of a corpus that is read as a whole.

    Raises ValueError for a column or file that is not there.
    """
    own = corpus.splits.get(split, split)
    rows = _table(corpus, place, own) if corpus.layout == "table" else layouts.READERS[corpus.layout](corpus, place, own)
    for row in rows:
        yield {"corpus": corpus.name, "language": corpus.language or None, **row, "split": split}


def _table(corpus: Corpus, file: Path, split: str) -> Iterator[dict[str, Any]]:
    """A Parquet, CSV, TSV or JSONL file whose columns the catalogue names; of several splits in one file the wanted one."""
    for number, row in enumerate(_rows(file)):
        made = mapped(corpus, row, f"{file.name}:{number}")
        if made.get("split", split) == split:
            yield made


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield from batch.to_pylist()
    elif file.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        yield from (row for _, row in table.lines(str(file)))
    else:
        yield from (row for _, row in jsonl.lines(str(file)))
