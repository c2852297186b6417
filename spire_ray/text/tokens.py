"""Between the rows of the sources and the pack: tokens in Parquet files sorted by key, and what is chosen of them.

Columns: `key`, `utt_id`, `ids`, `counted`, `units` and `seconds` of its speech, `content` (hash of the ids), `cuttable`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray import storage
from spire_ray.fingerprint import content_hash
from spire_ray.settings import Pack
from spire_ray.text import budget, filters, mixture, pack, prompts
from spire_ray.text.mixture import Prompted, Unusable
from spire_ray.text.tokenizer import SpeechTokenizer

WORK_FOLDER = "_tokens"
REJECTED_FOLDER = "rejected"
MEASURES = ("documents", "tokens", "units", "seconds")
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
    ]
)
_REJECTED = pa.schema([("utt_id", pa.string()), ("source", pa.string()), ("reason", pa.string())])
_COLUMNS = ("utt_id", "text", "language", "translations", "units", "duration", "conversations", "status", "error", "split")


def mark(block: int) -> str:
    """Name of the file that says a block is tokenised."""
    return f"block-{block:06d}.json"


def _file(block: int) -> str:
    return f"block-{block:06d}.parquet"


# --- tokenise -------------------------------------------------------------------------------------------------------


class Tokeniser:
    """Rows of a source → documents as tokens, or the reason why not."""

    def __init__(self, settings: Pack) -> None:
        self._settings = settings
        self._tokenizer = SpeechTokenizer(settings.model)
        self._style = prompts.STYLES[settings.prompts]
        self._end = self._terminator(settings.terminator)

    def _terminator(self, word: str) -> int:
        token = self._tokenizer.text.token_to_id(word) if word else self._tokenizer.end
        if token is None:
            raise ValueError(f"terminator={word!r}: {self._settings.model} has no such token")
        return int(token)

    def write(self, block: dict[str, Any]) -> None:
        """Tokenise one block into its file; the mark comes last."""
        number, source = int(block["source"]), self._settings.sources[int(block["source"])]
        rows = [row for row in read_rows(block) if row.get("split") == source.split]
        documents, rejected = self.documents(number, rows)
        work = storage.join(self._settings.output, WORK_FOLDER)
        table = pa.Table.from_pylist(documents, schema=_SCHEMA).sort_by([("key", "ascending"), ("utt_id", "ascending")])
        storage.write_parquet(storage.join(work, _file(block["block"])), table, row_group_size=_ROWS_IN_A_ROW_GROUP)
        if rejected:
            lines = [{**row, "source": mixture.name(source)} for row in rejected]
            part = storage.join(self._settings.output, REJECTED_FOLDER, f"part-{block['block']:06d}.parquet")
            storage.write_parquet(part, pa.Table.from_pylist(lines, schema=_REJECTED))
        counts = {"source": number, "rows": len(rows), "rejected": _by_kind(rejected)}
        storage.write_json(storage.join(work, mark(block["block"])), counts)

    def documents(self, number: int, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Documents of a source as rows of the token file, and (utt_id, reason) of every row that makes none."""
        source = self._settings.sources[number]
        usable: list[tuple[Prompted, dict[str, Any]]] = []
        rejected: list[dict[str, str]] = []
        for row in rows:
            try:
                for single in mixture.each_target(source, row):
                    filters.check(single, row)
                    usable.append((mixture.prompted(single, row, self._style, self._tokenizer.chat), row))
            except Unusable as reason:
                rejected.append({"utt_id": row["utt_id"], "reason": str(reason)})
        made = []
        for (document, row), encoded in zip(usable, self._encode([d for d, _ in usable]), strict=True):
            try:
                made.append(self._framed(document, row, encoded))
            except ValueError as reason:
                rejected.append({"utt_id": document.utt_id, "reason": str(reason)})
        return made, rejected

    def _encode(self, documents: list[Prompted]) -> "list[tuple[np.ndarray, np.ndarray] | ValueError]":
        """Ids and answers of each document, or why it is refused."""
        try:
            return list(self._tokenizer.encode([document.spans for document in documents]))
        except ValueError:  # one of them: find it
            return [self._encode_one(document) for document in documents]

    def _encode_one(self, document: Prompted) -> "tuple[np.ndarray, np.ndarray] | ValueError":
        try:
            return self._tokenizer.encode([document.spans])[0]
        except ValueError as error:
            return error

    def _framed(
        self, document: Prompted, row: dict[str, Any], encoded: "tuple[np.ndarray, np.ndarray] | ValueError"
    ) -> dict[str, Any]:
        """BOS before a document, but in Megatron's form, and the terminator after one whose every token counts."""
        if isinstance(encoded, ValueError):
            raise encoded
        ids, counted = encoded
        settings = self._settings
        if document.everything_counts:
            ids = np.append(ids, np.int32(self._end))
            counted = np.ones(len(ids), bool)
        if settings.packing == "best_fit":
            whole = self._tokenizer.begin(ids)
            first = document.everything_counts
            counted = np.concatenate([np.full(len(whole) - len(ids), first), counted])
            ids = whole
        spoken = sum(len(span.units) for span in document.spans if span.units is not None)
        cuttable = document.everything_counts and not spoken
        if settings.packing == "best_fit" and len(ids) > settings.row_length and not cuttable:
            raise Unusable("longer than a row", f"{len(ids)} tokens of {settings.row_length}")
        return {
            "key": budget.key(settings.seed, document.utt_id, document.target),
            "utt_id": document.utt_id,
            "ids": ids,
            "counted": counted,
            "units": spoken,
            "seconds": float(row.get("duration") or 0.0) if spoken else 0.0,
            "content": int(content_hash([ids.tobytes()]), 16),
            "cuttable": cuttable,
        }


def read_rows(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a block as mappings, with their units as numpy arrays."""
    table = pa.concat_tables([storage.read_parquet(str(file)) for file in block["files"]], promote_options="default")
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


# --- choose ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What is taken of each source, and in which groups."""

    shares: list[budget.Share]
    available: list[dict[str, float]]
    """Documents, tokens, units and seconds of each source, duplicates left out."""
    groups: list[tuple[int, int]]
    rejected: dict[str, dict[str, dict[str, Any]]]
    """Source → kind of reason → count and example."""
    repeated: dict[int, np.ndarray] = field(default_factory=dict)
    """Source → sorted keys of documents that repeat another."""


def choose(settings: Pack, blocks: int) -> Choice:
    """Read keys and sizes of all documents, leave out duplicates and meet the budgets.

    Holds some 40 bytes for each document. Raises ValueError for a source of which nothing is left.
    """
    work = storage.join(settings.output, WORK_FOLDER)
    marks = [storage.read_json(storage.join(work, mark(block))) for block in range(blocks)]
    shares, available, repeated, chosen = [], [], {}, 0
    rejected: dict[str, dict[str, dict[str, Any]]] = {}
    for number, source in enumerate(settings.sources):
        mine = [block for block in range(blocks) if marks[block]["source"] == number]
        name = mixture.name(source)
        if not any(marks[block]["rows"] for block in mine):
            raise ValueError(f"sources.{name}: {source.data} has no rows of split {source.split!r}")
        keys, contents, sizes = _columns(work, mine)
        reasons = _merged([marks[block]["rejected"] for block in mine])
        if source.filters.duplicates and len(keys):
            again = budget.duplicates(keys, contents)
            if again.any():
                repeated[number] = np.sort(keys[again])
                reasons["duplicate"] = {
                    "count": int(again.sum()),
                    "utt_id": f"key {keys[again].min():016x}",
                    "reason": "duplicate",
                }
                keys, sizes = keys[~again], {measure: size[~again] for measure, size in sizes.items()}
        if reasons:
            rejected[name] = reasons
        measure = "tokens" if source.tokens else "units" if source.units else "documents"
        target = settings.scale * (source.tokens or source.units) or source.weight * len(keys)
        most = source.max_epochs if measure != "documents" else source.weight
        ranks = budget.ranks(keys, number)
        shares.append(budget.share(ranks, sizes[measure], target, most))
        available.append({measure: float(size.sum()) for measure, size in sizes.items()})
        chosen += int(shares[-1].passes(ranks).sum())
    return Choice(shares, available, budget.groups(chosen), rejected, repeated)


def _columns(work: str, blocks: list[int]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Keys, content hashes and sizes of the documents of some blocks."""
    columns = ["key", "ids", "units", "seconds", "content"]
    parts = []
    for block in blocks:
        table = storage.read_parquet(storage.join(work, _file(block)), columns)
        parts.append((table["key"].to_numpy(), table["content"].to_numpy(), _sizes(table)))
    sizes = {name: np.concatenate([part[2][name] for part in parts]) for name in MEASURES}
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), sizes


def _sizes(table: pa.Table) -> dict[str, np.ndarray]:
    """What each document counts in each measure."""
    units, seconds = (table[name].to_numpy() for name in ("units", "seconds"))
    lengths = pc.list_value_length(table["ids"]).to_numpy()
    return {"documents": np.ones(len(table), np.int64), "tokens": lengths, "units": units, "seconds": seconds}


def _merged(blocks: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for kinds in blocks:
        for kind, found in kinds.items():
            known = merged.get(kind)
            if known is None:
                merged[kind] = dict(found)
                continue
            example = min(known, found, key=lambda each: each["utt_id"])
            merged[kind] = {**example, "count": known["count"] + found["count"]}
    return dict(sorted(merged.items()))


# --- pack -----------------------------------------------------------------------------------------------------------


def pack_group(settings: Pack, form: pack.Form, choice: Choice, blocks: int, group: int) -> dict[str, Any]:
    """Gather the chosen documents of one group, sort them by id, pack them; returns the counts of the group."""
    found: list[tuple[str, int, int, pack.Document]] = []
    brought = [dict.fromkeys(MEASURES, 0.0) for _ in settings.sources]
    for block in range(blocks):
        number = int(storage.read_json(storage.join(settings.output, WORK_FOLDER, mark(block)))["source"])
        table, times = _chosen(settings, choice, block, number, choice.groups[group])
        tokens = _documents(table, number)
        for (utt_id, content, document), repeat in zip(tokens, times, strict=True):
            found += [(utt_id, number, content, document)] * int(repeat)
        sizes = _sizes(table)
        for measure in brought[number]:
            brought[number][measure] += float((sizes[measure] * times).sum())
    documents = [document for *_, document in sorted(found, key=lambda each: each[:3])]
    facts = pack.write_group(settings.output, group, documents, form)
    return {**facts, "sources": brought}


def _chosen(settings: Pack, choice: Choice, block: int, number: int, keys: tuple[int, int]) -> tuple[pa.Table, np.ndarray]:
    """Documents of a block with keys in a range that are used, and how often each."""
    first, last = (pa.scalar(key, pa.uint64()) for key in keys)
    path = storage.join(settings.output, WORK_FOLDER, _file(block))
    table = storage.read_parquet(path, filters=[("key", ">=", first), ("key", "<=", last)])
    key = table["key"].to_numpy()
    times = choice.shares[number].passes(budget.ranks(key, number))
    if number in choice.repeated:
        times[np.isin(key, choice.repeated[number])] = 0
    return table.filter(pa.array(times > 0)), times[times > 0]


def _documents(table: pa.Table, number: int) -> Iterator[tuple[str, int, pack.Document]]:
    """utt_id, content hash and document of each row of a token table."""
    ids, counted = (table[name].combine_chunks() for name in ("ids", "counted"))
    tokens, masks = ids.flatten().to_numpy(), counted.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(_sizes(table)["tokens"])
    columns = (table[name].to_pylist() for name in ("utt_id", "content", "cuttable"))
    for utt_id, content, cuttable, start, end in zip(*columns, np.append(0, ends), ends, strict=False):
        yield utt_id, content, pack.Document(tokens[start:end], masks[start:end], utt_id, number, cuttable)


def account(settings: Pack, choice: Choice, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each source was to bring and brought."""
    lines = []
    for number, source in enumerate(settings.sources):
        brought = {m: sum(group["sources"][number][m] for group in groups) for m in MEASURES}
        measure = "tokens" if source.tokens else "units" if source.units else ""
        target = settings.scale * (source.tokens or source.units)
        short = ""
        if measure and brought[measure] < 0.98 * target:
            short = f"brings {brought[measure]:.0f} of {target:.0f} {measure}; rows are used {source.max_epochs:g} times at most"
        lines.append(
            {
                "name": mixture.name(source),
                "task": source.task,
                "format": source.format,
                "documents": int(brought["documents"]),
                "tokens": int(brought["tokens"]),
                "units": int(brought["units"]),
                "hours": round(brought["seconds"] / 3600, 4),
                "available": {key: int(value) for key, value in choice.available[number].items()},
                "target": {measure: round(target)} if measure else {"epochs": source.weight},
                "short": short,
            }
        )
    return lines
