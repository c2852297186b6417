"""What an exported model says to documents of a held-out pack: a look at a training that figures do not give."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.packs.pack import Pack


@dataclass(frozen=True)
class Sample:
    """One document, cut where the answer begins."""

    source: str
    prompt: np.ndarray
    """Token ids, int64 [n]."""
    expected: np.ndarray
    """Token ids of the rest."""


def samples(pack: Pack, units: range, number: int) -> list[Sample]:
    """The first documents of a pack, spread over its sources."""
    names = [source["name"] for source in pack.index["sources"]]
    each = -(-number // len(names))
    chosen: dict[str, list[Sample]] = {name: [] for name in names}
    for source, ids, counted in _documents(pack):
        start = _answer(ids, counted, units)
        if len(chosen[names[source]]) < each and 0 < start < len(ids):
            chosen[names[source]].append(Sample(names[source], ids[:start], ids[start:]))
    return list(islice((sample for found in chosen.values() for sample in found), number))


def markdown(generator: HuggingFaceGenerator, given: list[Sample]) -> str:
    """The answers beside what was expected, as a table; speech is shown by its number of units."""
    answers = generator.continued([sample.prompt for sample in given])
    lines = ["| source | prompt | expected | answer |", "|---|---|---|---|"]
    for sample, answer in zip(given, answers, strict=True):
        shown = (_text(generator, ids) for ids in (sample.prompt, sample.expected, np.array(answer, np.int64)))
        lines.append(f"| {sample.source} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _documents(pack: Pack) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Source, token ids and counted mask of every document."""
    for row in pack.epoch(0, 0):
        start = 0
        for length in row.lengths.tolist():
            part = slice(start, start + length)
            yield int(row.sources[start]), row.input_ids[part], row.counted[part]
            start += length


def _answer(ids: np.ndarray, counted: np.ndarray, units: range) -> int:
    """Where the answer begins: at the first counted token; where all count, after the last unit or half of the text."""
    if not counted[1:].all():
        return int(counted.argmax()) if counted.any() else len(ids)
    speech = np.flatnonzero((ids >= units.start) & (ids < units.stop))
    return int(speech[-1]) + 1 if len(speech) else len(ids) // 2


def _text(generator: HuggingFaceGenerator, ids: np.ndarray) -> str:
    units = generator.tokenizer.units
    heard = (ids >= units.first) & (ids < units.first + units.count) if units else np.zeros(len(ids), bool)
    text = generator.tokenizer.decode(ids[~heard].tolist())
    return (f"⟨{heard.sum()} units⟩ " if heard.any() else "") + text.replace("\n", " ⏎ ").replace("|", "\\|").strip()
