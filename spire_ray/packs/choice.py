"""What is taken of the tokens of the sources: duplicates left out, budgets met, groups of documents packed, all accounted for."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.core import storage, tables
from spire_ray.packs import available, balance, budget, conversations, mixture, pack
from spire_ray.packs.available import MEASURES, Available
from spire_ray.packs.tokens import WORK_FOLDER, block_file, mark
from spire_ray.settings import PackSettings


@dataclass(frozen=True)
class Choice:
    """What is taken of each source, and in which groups."""

    shares: list[dict[str, budget.Share]]
    """Of each source by the label that a document is balanced as; without balance all have the empty one."""
    available: list[dict[str, float]]
    """Documents, tokens, units and seconds of each source, duplicates left out."""
    groups: list[tuple[int, int]]
    rejected: dict[str, dict[str, dict[str, Any]]]
    """Source → kind of reason → count and example."""
    repeated: dict[int, np.ndarray] = field(default_factory=dict)
    """Source → sorted keys of documents that repeat another."""
    balanced: list[dict[str, balance.Target]] = field(default_factory=list)
    """Of each source by label; empty without balance."""


def choose(settings: PackSettings, blocks: int) -> Choice:
    """Read keys and sizes of all documents, leave out duplicates and meet the budgets.

    Raises ValueError for a source of which nothing is left.
    """
    work = storage.join(settings.output, WORK_FOLDER)
    marks = [storage.read_json(storage.join(work, mark(block))) for block in range(blocks)]
    made, chosen = Choice([], [], [], {}), 0
    if settings.balance.by:
        sums = [available.read(settings, marks, n).sums(balance.measure(source)) for n, source in enumerate(settings.sources)]
        made.balanced.extend(balance.targets(settings, sums))
    for number, source in enumerate(settings.sources):
        there = available.read(settings, marks, number)
        ranks = budget.ranks(there.keys, number)
        shares = _shares(settings, number, there, made.balanced)
        chosen += int(_passes(shares, ranks, there.of).sum())
        made.shares.append(shares)
        made.available.append({measure: float(size.sum()) for measure, size in there.sizes.items()})
        if there.reasons:
            made.rejected[mixture.name(source)] = there.reasons
        if len(there.repeated):
            made.repeated[number] = there.repeated
    return replace(made, groups=budget.groups(chosen))


def _shares(
    settings: PackSettings, number: int, there: Available, balanced: list[dict[str, balance.Target]]
) -> dict[str, budget.Share]:
    """What a source brings of each label."""
    source, ranks = settings.sources[number], budget.ranks(there.keys, number)
    if not balanced:
        measure = balance.measure(source) if source.tokens or source.units else "documents"
        weight = balance.weight(settings, source)
        target = settings.scale * (source.tokens or source.units) or weight * len(there.keys)
        most = source.max_epochs if measure != "documents" else weight
        return {"": budget.share(ranks, there.sizes[measure], target, most)}
    sizes, most = there.sizes[balance.measure(source)], balance.most(settings, source)
    return {
        label: budget.share(ranks[mine := there.of(label)], sizes[mine], target.wanted, most)
        for label, target in balanced[number].items()
    }


def _passes(shares: dict[str, budget.Share], ranks: np.ndarray, of: Callable[[str], np.ndarray]) -> np.ndarray:
    """How often documents are used; `of` says which are of a label."""
    times = np.zeros(len(ranks), np.int64)
    for label, share in shares.items():
        mine = of(label)
        times[mine] = share.passes(ranks[mine])
    return times


def pack_group(settings: PackSettings, form: pack.Form, choice: Choice, blocks: int, group: int) -> dict[str, Any]:
    """Gather the chosen documents of one group, sort them by id, pack them; returns the counts of the group."""
    found: list[tuple[str, int, int, str, pack.Document]] = []
    brought = [dict.fromkeys(MEASURES, 0.0) for _ in settings.sources]
    labels = [Counter[str]() for _ in settings.sources]
    directions: set[str] = set()
    longest: dict[str, float] = {"units": 0, "seconds": 0.0}
    for block in range(blocks):
        number = int(storage.read_json(storage.join(settings.output, WORK_FOLDER, mark(block)))["source"])
        table, times = _chosen(settings, choice, block, number, choice.groups[group])
        directions |= set(table["direction"].to_pylist()) - {""}
        longest = {key: max([most, *table[key].to_pylist()]) for key, most in longest.items()}
        tokens = _documents(table, number)
        lines = table["line"].to_pylist()
        for (utt_id, content, document), line, repeat in zip(tokens, lines, times, strict=True):
            found += [(utt_id, number, content, line or "", document)] * int(repeat)
        sizes = available.sizes(table)
        for measure in brought[number]:
            brought[number][measure] += float((sizes[measure] * times).sum())
        used = sizes[balance.measure(settings.sources[number])] * times
        for label in choice.shares[number]:
            labels[number][label] += int(used[available.equal(table["label"], label)].sum())
    found.sort(key=lambda each: each[:3])
    facts = pack.write_group(settings.output, group, [document for *_, document in found], form)
    if settings.to == "jsonl":
        conversations.write_group(settings.output, group, [line for *_, line, _ in found])
    return {**facts, "sources": brought, "labels": labels, "directions": sorted(directions), "longest": longest}


def _chosen(
    settings: PackSettings, choice: Choice, block: int, number: int, keys: tuple[int, int]
) -> tuple[pa.Table, np.ndarray]:
    """Documents of a block with keys in a range that are used, and how often each."""
    first, last = (pa.scalar(key, pa.uint64()) for key in keys)
    path = storage.join(settings.output, WORK_FOLDER, block_file(block))
    table = tables.read(path, filters=[("key", ">=", first), ("key", "<=", last)])
    key = table["key"].to_numpy()
    times = _passes(choice.shares[number], budget.ranks(key, number), partial(available.equal, table["label"]))
    if number in choice.repeated:
        times[np.isin(key, choice.repeated[number])] = 0
    return table.filter(pa.array(times > 0)), times[times > 0]


def _documents(table: pa.Table, number: int) -> Iterator[tuple[str, int, pack.Document]]:
    """utt_id, content hash and document of each row of a token table."""
    ids, counted = (table[name].combine_chunks() for name in ("ids", "counted"))
    tokens, masks = ids.flatten().to_numpy(), counted.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(available.sizes(table)["tokens"])
    columns = (table[name].to_pylist() for name in ("utt_id", "content", "cuttable"))
    for utt_id, content, cuttable, start, end in zip(*columns, np.append(0, ends), ends, strict=False):
        yield utt_id, content, pack.Document(tokens[start:end], masks[start:end], utt_id, number, cuttable)


def account(settings: PackSettings, choice: Choice, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each source was to bring and brought."""
    lines = []
    for number, source in enumerate(settings.sources):
        brought = {m: sum(group["sources"][number][m] for group in groups) for m in MEASURES}
        balanced = choice.balanced[number] if choice.balanced else {}
        measure = balance.measure(source) if source.tokens or source.units or balanced else ""
        target = settings.scale * (source.tokens or source.units) or sum(one.wanted for one in balanced.values())
        most = balance.most(settings, source) if balanced else source.max_epochs
        short = ""
        if measure and brought[measure] < 0.98 * target:
            short = f"brings {brought[measure]:.0f} of {target:.0f} {measure}; rows are used {most:g} times at most"
        labels = {
            label: {"available": round(one.there), "brought": sum(group["labels"][number].get(label, 0) for group in groups)}
            for label, one in balanced.items()
        }
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
                "target": {measure: round(target)} if measure else {"epochs": balance.weight(settings, source)},
                **({"balanced": labels} if labels else {}),
                "short": short,
            }
        )
    return lines
