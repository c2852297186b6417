"""The pack: rows of token ids on disk, shuffled once, read by memory map.

Uncompressed Arrow IPC files of 64-row record batches and `index.json`. Legend: L tokens in a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray import storage
from spire_ray.text.packing import best_fit

ROWS_IN_A_BATCH = 64
INDEX_FILE = "index.json"
_DATA_FILE = "rows-00000.arrow"


@dataclass(frozen=True)
class Document:
    """One training document as tokens."""

    ids: np.ndarray
    """int32 [n]."""
    counted: np.ndarray
    """bool [n]: tokens that the loss counts as targets."""
    utt_id: str
    source: int


def write(
    folder: str, documents: Sequence[Document], row_length: int, vocabulary: int, seed: int, index: dict[str, Any]
) -> dict[str, Any]:
    """Pack documents into rows, shuffle the rows and write the folder; returns what `index.json` says.

    A document longer than a row is left out and counted under its source in `too_long`.
    """
    fitting = [d for d in documents if len(d.ids) <= row_length]
    rows = best_fit([len(d.ids) for d in fitting], row_length)
    np.random.default_rng(seed).shuffle(rows)  # type: ignore[arg-type]
    width = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    schema = _schema(row_length, pa.from_numpy_dtype(width))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        for start in range(0, len(rows), ROWS_IN_A_BATCH):
            chosen = rows[start : start + ROWS_IN_A_BATCH]
            file.write_batch(_record_batch([[fitting[i] for i in row] for row in chosen], start, schema, row_length, width))
    storage.write_bytes(storage.join(folder, _DATA_FILE), sink.getvalue().to_pybytes())
    tokens = sum(len(d.ids) for d in fitting)
    too_long: dict[str, int] = {}
    for document in documents:
        if len(document.ids) > row_length:
            name = index["sources"][document.source]["name"]
            too_long[name] = too_long.get(name, 0) + 1
    facts = {
        **index,
        "rows": len(rows),
        "row_length": row_length,
        "documents": len(fitting),
        "tokens": tokens,
        "counted_tokens": int(sum(d.counted.sum() for d in fitting)),
        "fill": round(tokens / (len(rows) * row_length), 5) if rows else 0.0,
        "too_long": too_long,
        "seed": seed,
        "files": [_DATA_FILE],
    }
    storage.write_json(storage.join(folder, INDEX_FILE), facts)
    return facts


@dataclass(frozen=True)
class Row:
    """One packed row."""

    input_ids: np.ndarray
    """int64 [L]; padding is 0."""
    counted: np.ndarray
    """bool [L]."""
    lengths: np.ndarray
    """int64 [documents]; what is left of L is padding."""
    sources: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [L]: number of the source of each token; -1 for padding."""
    number: int = -1
    """Place in the pack."""


class Pack:
    """A pack opened for reading."""

    def __init__(self, folder: str) -> None:
        path = storage.join(folder, INDEX_FILE)
        if not storage.exists(path):
            raise ValueError(f"pack={folder}: no {INDEX_FILE} there; make one with the stage pack")
        self._folder = folder
        self.index: dict[str, Any] = storage.read_json(path)
        local = storage.localize(folder)
        self._files = [pa.ipc.open_file(pa.memory_map(storage.join(local, name))) for name in self.index["files"]]
        self._batches = [(f, b) for f, file in enumerate(self._files) for b in range(file.num_record_batches)]

    def __len__(self) -> int:
        return int(self.index["rows"])

    @property
    def whole_rows(self) -> bool:
        """Whether attention runs through the row, as in a pack of kind `megatron`, instead of staying in each document."""
        return bool(self.index.get("packing") == "megatron")

    def epoch(self, epoch: int, seed: int) -> Iterator[Row]:
        """All rows once: record batches in a permutation drawn from seed and epoch, their rows in order."""
        for position in np.random.default_rng([seed, epoch]).permutation(len(self._batches)):
            file, number = self._batches[position]
            yield from _rows(self._files[file].get_batch(number))

    def stream(self, seed: int, start: int = 0) -> Iterator[Row]:
        """Rows of all epochs without end, from the `start`-th one; the position is the number of rows read.

        Raises ValueError for a pack without rows.
        """
        if not len(self):
            raise ValueError(f"pack={self._folder}: holds no rows; its index.json says what was left out")
        epoch, skip = divmod(start, len(self))
        while True:
            for number, row in enumerate(self.epoch(epoch, seed)):
                if number >= skip:
                    yield row
            epoch, skip = epoch + 1, 0


def _schema(row_length: int, token: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("row", pa.int64()),
            ("input_ids", pa.list_(token, row_length)),
            ("loss_mask", pa.list_(pa.uint8(), row_length)),
            ("document_lengths", pa.list_(pa.int32())),
            ("utt_ids", pa.list_(pa.string())),
            ("source", pa.list_(pa.uint8())),
        ]
    )


def _record_batch(
    rows: list[list[Document]], first: int, schema: pa.Schema, row_length: int, width: type[np.unsignedinteger[Any]]
) -> pa.RecordBatch:
    ids = np.zeros((len(rows), row_length), width)
    mask = np.zeros((len(rows), row_length), np.uint8)
    for number, documents in enumerate(rows):
        joined = np.concatenate([d.ids for d in documents])
        ids[number, : len(joined)] = joined
        mask[number, : len(joined)] = np.concatenate([d.counted for d in documents])
    columns = [
        pa.array(range(first, first + len(rows)), pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), row_length),
        pa.FixedSizeListArray.from_arrays(pa.array(mask.reshape(-1)), row_length),
        pa.array([[len(d.ids) for d in documents] for documents in rows], schema.field("document_lengths").type),
        pa.array([[d.utt_id for d in documents] for documents in rows], schema.field("utt_ids").type),
        pa.array([[d.source for d in documents] for documents in rows], schema.field("source").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    length = batch.schema.field("input_ids").type.list_size
    ids = batch.column("input_ids").flatten().to_numpy().reshape(-1, length)
    counted = batch.column("loss_mask").flatten().to_numpy().reshape(-1, length).astype(bool)
    columns = (batch.column(name).to_pylist() for name in ("document_lengths", "source", "row"))
    for place, (lengths, sources, number) in enumerate(zip(*columns, strict=True)):
        padding = length - sum(lengths)
        owners = np.repeat(np.array([*sources, -1]), [*lengths, padding])
        yield Row(ids[place].astype(np.int64), counted[place], np.asarray(lengths, np.int64), owners, number)
