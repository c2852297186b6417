"""The pack: rows of token ids on disk, shuffled once, read by memory map.

Uncompressed Arrow IPC files of 64-row record batches, one for each group of documents, and `index.json`.
Legend: L tokens in a row.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from spire_ray.core import copies, storage
from spire_ray.packs.packing import best_fit, joined

ROWS_IN_A_BATCH = 64
INDEX_FILE = "index.json"

_SPEECH = ("units", "seconds")

Packing = Literal["best_fit", "megatron"]


@dataclass(frozen=True)
class Document:
    """One training document as tokens."""

    ids: np.ndarray
    """int32 [n]."""
    counted: np.ndarray
    """bool [n]: tokens that the loss counts as targets."""
    utt_id: str
    source: int
    cuttable: bool = False
    """Plain text, which may be cut where it is longer than a row."""

    def piece(self, start: int, stop: int) -> "Document":
        """Some of its tokens."""
        return replace(self, ids=self.ids[start:stop], counted=self.counted[start:stop])


@dataclass(frozen=True)
class Form:
    """How the documents of a pack are laid into rows."""

    sequence_length: int
    vocabulary: int
    """Token ids in use; beyond 65,536 an id takes 32 bits."""
    packing: Packing = "best_fit"
    seed: int = 0


def write_group(folder: str, number: int, documents: Sequence[Document], form: Form) -> dict[str, Any]:
    """Lay the documents of one group into rows, shuffle the rows and write their file; returns its counts.

    The file is a function of the documents in their order, of the form and of the number. A document that is longer than a
    row and must not be cut is left out and counted under its source in `too_long`.
    """
    draw = np.random.default_rng([form.seed, number])
    too_long: dict[int, int] = {}
    for document in documents if form.packing == "best_fit" else ():
        if len(document.ids) > form.sequence_length and not document.cuttable:
            too_long[document.source] = too_long.get(document.source, 0) + 1
    rows = (
        _best_fit(documents, form.sequence_length)
        if form.packing == "best_fit"
        else _joined(documents, form.sequence_length, draw)
    )
    draw.shuffle(rows)  # type: ignore[arg-type]
    width = np.uint16 if form.vocabulary <= 1 << 16 else np.uint32
    schema = _schema(form.sequence_length, pa.from_numpy_dtype(width))
    name = f"rows-{number:05d}.arrow"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        for start in range(0, len(rows), ROWS_IN_A_BATCH):
            file.write_batch(_record_batch(rows[start : start + ROWS_IN_A_BATCH], start, schema, form.sequence_length, width))
    storage.write_bytes(storage.join(folder, name), sink.getvalue().to_pybytes())
    placed = [document for row in rows for document in row]
    return {
        "file": name,
        "rows": len(rows),
        "documents": len(documents) - sum(too_long.values()),
        "tokens": sum(len(d.ids) for d in placed),
        "counted_tokens": int(sum(d.counted.sum() for d in placed)),
        "too_long": too_long,
    }


def write_index(folder: str, groups: Sequence[dict[str, Any]], form: Form, index: dict[str, Any]) -> dict[str, Any]:
    """Add up the groups and write `index.json`, which makes the pack complete; returns what it says."""
    rows, tokens = sum(group["rows"] for group in groups), sum(group["tokens"] for group in groups)
    too_long: dict[str, int] = {}
    for group in groups:
        for source, count in group["too_long"].items():
            name = index["sources"][int(source)]["name"]
            too_long[name] = too_long.get(name, 0) + count
    facts = {
        **index,
        "rows": rows,
        "sequence_length": form.sequence_length,
        "packing": form.packing,
        "documents": sum(group["documents"] for group in groups),
        "tokens": tokens,
        "counted_tokens": sum(group["counted_tokens"] for group in groups),
        "fill": round(tokens / (rows * form.sequence_length), 5) if rows else 0.0,
        "too_long": too_long,
        "directions": sorted({direction for group in groups for direction in group.get("directions", ())}),
        "longest": {key: max([0, *(group["longest"][key] for group in groups if "longest" in group)]) for key in _SPEECH},
        "seed": form.seed,
        "files": [group["file"] for group in groups],
    }
    storage.write_json(storage.join(folder, INDEX_FILE), facts)
    return facts


def write(
    folder: str, documents: Sequence[Document], sequence_length: int, vocabulary: int, seed: int, index: dict[str, Any]
) -> dict[str, Any]:
    """A pack of one group; returns what `index.json` says."""
    form = Form(sequence_length, vocabulary, seed=seed)
    return write_index(folder, [write_group(folder, 0, documents, form)], form, index)


def _best_fit(documents: Sequence[Document], sequence_length: int) -> list[list[Document]]:
    """Whole documents, and pieces of plain text that is longer than a row."""
    fitting: list[Document] = []
    for document in documents:
        if len(document.ids) <= sequence_length:
            fitting.append(document)
        elif document.cuttable:
            fitting += [document.piece(start, start + sequence_length) for start in range(0, len(document.ids), sequence_length)]
    return [[fitting[i] for i in row] for row in best_fit([len(d.ids) for d in fitting], sequence_length)]


def _joined(documents: Sequence[Document], sequence_length: int, draw: np.random.Generator) -> list[list[Document]]:
    shuffled = [documents[i] for i in draw.permutation(len(documents))]
    return [[shuffled[i].piece(a, b) for i, a, b in row] for row in joined([len(d.ids) for d in shuffled], sequence_length)]


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
        local = copies.localize(folder)
        self._files = [pa.ipc.open_file(pa.memory_map(storage.join(local, name))) for name in self.index["files"]]
        self._batches = [(f, b) for f, file in enumerate(self._files) for b in range(file.num_record_batches)]
        sizes = [self._files[file].get_batch(number).num_rows for file, number in self._batches]
        self._first = [0, *accumulate(sizes)]

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
            yield from _rows(self._files[file].get_batch(number), self._first[position])

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

    def described(self, number: int) -> dict[str, Any]:
        """All columns of the row that stands at a place in the files: ids, mask, documents, their utt_ids and sources.

        Raises ValueError for a place beyond the last row.
        """
        if not 0 <= number < len(self):
            raise ValueError(f"pack={self._folder}: has rows 0 to {len(self) - 1}")
        position = bisect_right(self._first, number) - 1
        file, batch = self._batches[position]
        rows = self._files[file].get_batch(batch).slice(number - self._first[position], 1)
        found: dict[str, Any] = rows.to_pylist()[0]
        return found


def _schema(sequence_length: int, token: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("row", pa.int64()),
            ("input_ids", pa.list_(token, sequence_length)),
            ("loss_mask", pa.list_(pa.uint8(), sequence_length)),
            ("document_lengths", pa.list_(pa.int32())),
            ("utt_ids", pa.list_(pa.string())),
            ("source", pa.list_(pa.uint8())),
        ]
    )


def _record_batch(
    rows: list[list[Document]], first: int, schema: pa.Schema, sequence_length: int, width: type[np.unsignedinteger[Any]]
) -> pa.RecordBatch:
    ids = np.zeros((len(rows), sequence_length), width)
    mask = np.zeros((len(rows), sequence_length), np.uint8)
    for number, documents in enumerate(rows):
        joined = np.concatenate([d.ids for d in documents])
        ids[number, : len(joined)] = joined
        mask[number, : len(joined)] = np.concatenate([d.counted for d in documents])
    columns = [
        pa.array(range(first, first + len(rows)), pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), sequence_length),
        pa.FixedSizeListArray.from_arrays(pa.array(mask.reshape(-1)), sequence_length),
        pa.array([[len(d.ids) for d in documents] for documents in rows], schema.field("document_lengths").type),
        pa.array([[d.utt_id for d in documents] for documents in rows], schema.field("utt_ids").type),
        pa.array([[d.source for d in documents] for documents in rows], schema.field("source").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _rows(batch: pa.RecordBatch, first: int) -> Iterator[Row]:
    length = batch.schema.field("input_ids").type.list_size
    ids = batch.column("input_ids").flatten().to_numpy().reshape(-1, length)
    counted = batch.column("loss_mask").flatten().to_numpy().reshape(-1, length).astype(bool)
    columns = (batch.column(name).to_pylist() for name in ("document_lengths", "source"))
    for place, (lengths, sources) in enumerate(zip(*columns, strict=True)):
        owners = np.repeat(np.array([*sources, -1]), [*lengths, length - sum(lengths)])
        yield Row(ids[place].astype(np.int64), counted[place], np.asarray(lengths, np.int64), owners, first + place)
