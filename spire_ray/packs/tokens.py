"""Rows of the sources → tokens, in Parquet files sorted by key: what lies between the sources and the pack.

Columns: `key`, `utt_id`, `ids`, `counted`, `units` and `seconds` of its speech, `content` (hash of the ids), `cuttable`,
`direction` (what it teaches: `asr.en`, `st.en-de`), `label` (what it is balanced as), `line` (its JSON, where that is
asked for).
"""

from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.core import storage, tables
from spire_ray.manifest.schema import in_split
from spire_ray.packs import balance, budget, conversations, filters, mixture
from spire_ray.packs.mixture import Prompted, SkipRow
from spire_ray.settings import PackSettings
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units.fingerprint import content_hash

WORK_FOLDER = "_tokens"
REJECTED_FOLDER = "rejected"
_ROWS_IN_A_ROW_GROUP = 1024
_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("utt_id", pa.string()),
        ("ids", pa.list_(pa.int32())),
        ("counted", pa.list_(pa.bool_())),
        ("units", pa.int32()),
        ("seconds", pa.float32()),
        ("content", pa.uint64()),
        ("cuttable", pa.bool_()),
        ("direction", pa.string()),
        ("label", pa.string()),
        ("line", pa.string()),
    ]
)
_REJECTED = pa.schema([("utt_id", pa.string()), ("source", pa.string()), ("reason", pa.string())])
_COLUMNS = ("utt_id", "text", "language", "translations", "units", "duration", "conversations", "status", "error", "split")


def mark(block: int) -> str:
    """Name of the file that says a block is tokenised."""
    return f"block-{block:06d}.json"


def block_file(block: int) -> str:
    """Name of the file of a block's tokens."""
    return f"block-{block:06d}.parquet"


def terminator(settings: PackSettings, tokenizer: SpeechTokenizer) -> int:
    """Token that ends a document of continued pre-training. Raises ValueError for a word that the vocabulary has not."""
    word = settings.terminator
    token = tokenizer.text.token_to_id(word) if word else tokenizer.end
    if token is None:
        raise ValueError(f"terminator={word!r}: {settings.model} has no such token")
    return int(token)


class Tokeniser:
    """Rows of a source → documents as tokens, or the reason why not."""

    def __init__(self, settings: PackSettings) -> None:
        self._settings = settings
        self._tokenizer = SpeechTokenizer(settings.model)
        self._style = prompts.STYLES[settings.prompts]
        self._end = terminator(settings, self._tokenizer)

    def write(self, block: dict[str, Any]) -> None:
        """Tokenise one block into its file; the mark comes last."""
        number, source = int(block["source"]), self._settings.sources[int(block["source"])]
        rows = [row for row in read_rows(block) if in_split(row.get("split"), source.split)]
        documents, rejected = self.documents(number, rows)
        work = storage.join(self._settings.output, WORK_FOLDER)
        table = pa.Table.from_pylist(documents, schema=_SCHEMA).sort_by([("key", "ascending"), ("utt_id", "ascending")])
        tables.write(storage.join(work, block_file(block["block"])), table, row_group_size=_ROWS_IN_A_ROW_GROUP)
        if rejected:
            lines = [{**row, "source": mixture.name(source)} for row in rejected]
            part = storage.join(self._settings.output, REJECTED_FOLDER, f"part-{block['block']:06d}.parquet")
            tables.write(part, pa.Table.from_pylist(lines, schema=_REJECTED))
        counts = {"source": number, "rows": len(rows), "rejected": _by_kind(rejected)}
        storage.write_json(storage.join(work, mark(block["block"])), counts)

    def documents(self, number: int, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Documents of a source as rows of the token file, and (utt_id, reason) of every row that makes none."""
        source = self._settings.sources[number]
        usable: list[tuple[Prompted, dict[str, Any]]] = []
        rejected: list[dict[str, str]] = []
        for row in (mixture.in_its_language(source, row) for row in rows):
            try:
                singles = mixture.each_target(source, row)
            except SkipRow as reason:
                rejected.append({"utt_id": row["utt_id"], "reason": str(reason)})
                continue
            for single in singles:
                try:
                    filters.check(single, row)
                    usable.append((mixture.prompted(single, row, self._style, self._tokenizer.chat), row))
                except SkipRow as reason:
                    rejected.append({"utt_id": row["utt_id"], "reason": str(reason)})
        made = []
        for (document, row), encoded in zip(usable, self._tokenizer.attempt([d.spans for d, _ in usable]), strict=True):
            try:
                made.append(self._framed(document, row, encoded, number))
            except ValueError as reason:
                rejected.append({"utt_id": document.utt_id, "reason": str(reason)})
        return made, rejected

    def _framed(
        self, document: Prompted, row: dict[str, Any], encoded: "tuple[np.ndarray, np.ndarray] | ValueError", number: int
    ) -> dict[str, Any]:
        """BOS before a document, but a joined one of Megatron's, and the terminator after one whose every token counts."""
        if isinstance(encoded, ValueError):
            raise encoded
        ids, counted = encoded
        settings = self._settings
        if document.everything_counts:
            ids = np.append(ids, np.int32(self._end))
            counted = np.ones(len(ids), bool)
        if settings.packing == "best_fit" or not document.everything_counts:
            whole = self._tokenizer.begin(ids, document.spans)
            first = document.everything_counts
            counted = np.concatenate([np.full(len(whole) - len(ids), first), counted])
            ids = whole
        spoken = sum(len(span.units) for span in document.spans if span.units is not None)
        cuttable = document.everything_counts and not spoken
        if settings.packing == "best_fit" and len(ids) > settings.sequence_length and not cuttable:
            raise SkipRow("longer than a row", f"{len(ids)} tokens of {settings.sequence_length}")
        # a row that is read in several languages makes several documents with one target
        several = settings.sources[number].source_language == mixture.ANY
        told = f"{document.language}-{document.target}" if several else document.target
        return {
            "key": budget.key(settings.seed, document.utt_id, told),
            "utt_id": document.utt_id,
            "ids": ids,
            "counted": counted,
            "units": spoken,
            "seconds": float(row.get("duration") or 0.0) if spoken else 0.0,
            "content": int(content_hash([ids.tobytes()]), 16),
            "cuttable": cuttable,
            "direction": document.direction,
            "label": balance.label(settings, number, document.language, document.direction),
            "line": self._line(document, number) if settings.to == "jsonl" else None,
        }

    def _line(self, document: Prompted, number: int) -> str:
        return conversations.line(document, mixture.name(self._settings.sources[number]), self._tokenizer, self._end)


def read_rows(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a block as mappings, with their units as numpy arrays."""
    table = pa.concat_tables([tables.read(str(file)) for file in block["files"]], promote_options="default")
    if block["rows"] >= 0:
        table = table.slice(int(block["first"]), int(block["rows"]))
    table = table.select([name for name in _COLUMNS if name in table.column_names])
    if "units" not in table.column_names:
        return list(table.to_pylist())
    units = table["units"].combine_chunks()
    values, offsets = units.values.to_numpy(zero_copy_only=False), units.offsets.to_numpy()
    rows = table.drop_columns(["units"]).to_pylist()
    return [{**row, "units": values[offsets[i] : offsets[i + 1]]} for i, row in enumerate(rows)]


def _by_kind(rejected: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
    """Reasons with their number and the example of the lowest id, so that it does not depend on the order."""
    kinds: dict[str, dict[str, Any]] = {}
    for row in sorted(rejected, key=lambda row: row["utt_id"]):
        found = kinds.setdefault(mixture.kind(row["reason"]), {"count": 0, **row})
        found["count"] += 1
    return kinds
