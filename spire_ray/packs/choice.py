"""What is taken of the tokens of the sources: duplicates left out, budgets met, groups of documents packed, all accounted for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.manifest.schema import EVERY_SPLIT
from spire_ray.packs import budget, mixture, pack
from spire_ray.packs.tokens import WORK_FOLDER, block_file, mark
from spire_ray.settings import PackSettings

MEASURES = ("documents", "tokens", "units", "seconds")


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


def choose(settings: PackSettings, blocks: int) -> Choice:
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
            raise ValueError(
                f"sources.{name}: {source.data} has no rows of split {source.split!r}; split: {EVERY_SPLIT} takes every row"
            )
        keys, contents, sizes = _columns(work, mine)
        reasons = _merged([marks[block]["rejected"] for block in mine])
        if not len(keys):
            told = "; ".join(f"{found['count']} {kind}, such as {found['utt_id']}" for kind, found in reasons.items())
            raise ValueError(f"sources.{name}: nothing is left of {source.data}: {told}")
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
        table = tables.read(storage.join(work, block_file(block)), columns)
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


def pack_group(settings: PackSettings, form: pack.Form, choice: Choice, blocks: int, group: int) -> dict[str, Any]:
    """Gather the chosen documents of one group, sort them by id, pack them; returns the counts of the group."""
    found: list[tuple[str, int, int, pack.Document]] = []
    brought = [dict.fromkeys(MEASURES, 0.0) for _ in settings.sources]
    directions: set[str] = set()
    longest: dict[str, float] = {"units": 0, "seconds": 0.0}
    for block in range(blocks):
        number = int(storage.read_json(storage.join(settings.output, WORK_FOLDER, mark(block)))["source"])
        table, times = _chosen(settings, choice, block, number, choice.groups[group])
        directions |= set(table["direction"].to_pylist()) - {""}
        longest = {key: max([most, *table[key].to_pylist()]) for key, most in longest.items()}
        tokens = _documents(table, number)
        for (utt_id, content, document), repeat in zip(tokens, times, strict=True):
            found += [(utt_id, number, content, document)] * int(repeat)
        sizes = _sizes(table)
        for measure in brought[number]:
            brought[number][measure] += float((sizes[measure] * times).sum())
    documents = [document for *_, document in sorted(found, key=lambda each: each[:3])]
    facts = pack.write_group(settings.output, group, documents, form)
    return {**facts, "sources": brought, "directions": sorted(directions), "longest": longest}


def _chosen(
    settings: PackSettings, choice: Choice, block: int, number: int, keys: tuple[int, int]
) -> tuple[pa.Table, np.ndarray]:
    """Documents of a block with keys in a range that are used, and how often each."""
    first, last = (pa.scalar(key, pa.uint64()) for key in keys)
    path = storage.join(settings.output, WORK_FOLDER, block_file(block))
    table = tables.read(path, filters=[("key", ">=", first), ("key", "<=", last)])
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


def account(settings: PackSettings, choice: Choice, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
