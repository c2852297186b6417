"""What there is of a source to choose from: keys, sizes and labels of its documents, duplicates left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.manifest.schema import EVERY_SPLIT
from spire_ray.packs import budget, mixture
from spire_ray.packs.tokens import WORK_FOLDER, block_file
from spire_ray.settings import PackSettings

MEASURES = ("documents", "tokens", "units", "seconds")
_READ = ["key", "ids", "units", "seconds", "content", "label"]


@dataclass
class Available:
    """The documents of a source."""

    keys: np.ndarray
    sizes: dict[str, np.ndarray]
    """By measure."""
    labels: pa.DictionaryArray
    """What each is balanced as."""
    reasons: dict[str, dict[str, Any]]
    """Why others are none: kind → count and example."""
    repeated: np.ndarray
    """Sorted keys of those that repeat another, and are not among these."""

    def of(self, label: str) -> np.ndarray:
        """Which documents are balanced as this, bool."""
        return equal(self.labels, label)

    def sums(self, measure: str) -> dict[str, float]:
        """How much there is of each label."""
        names = self.labels.dictionary.to_pylist()
        found = np.bincount(self.labels.indices.to_numpy(), self.sizes[measure], len(names))
        return dict(sorted(zip(names, found.tolist(), strict=True)))


def equal(labels: pa.Array, label: str) -> np.ndarray:
    """Which of some labels are this one, bool."""
    return np.asarray(pc.equal(labels, label).to_numpy(zero_copy_only=False))


def read(settings: PackSettings, marks: Sequence[dict[str, Any]], number: int) -> Available:
    """The documents of a source; `marks` are those of all blocks. Holds some 44 bytes for each.

    Raises ValueError for a source of which nothing is left.
    """
    source, work = settings.sources[number], storage.join(settings.output, WORK_FOLDER)
    mine = [block for block, told in enumerate(marks) if told["source"] == number]
    name = mixture.name(source)
    if not any(marks[block]["rows"] for block in mine):
        raise ValueError(
            f"sources.{name}: {source.data} has no rows of split {source.split!r}; split: {EVERY_SPLIT} takes every row"
        )
    parts = [_of_block(storage.join(work, block_file(block))) for block in mine]
    keys, contents, *sizes = (np.concatenate(arrays) for arrays in zip(*(part[0] for part in parts), strict=True))
    labels = pa.chunked_array([part[1] for part in parts]).unify_dictionaries().combine_chunks()
    reasons = _merged([marks[block]["rejected"] for block in mine])
    if not len(keys):
        told = "; ".join(f"{found['count']} {kind}, such as {found['utt_id']}" for kind, found in reasons.items())
        raise ValueError(f"sources.{name}: nothing is left of {source.data}: {told}")
    again = budget.duplicates(keys, contents) if source.filters.duplicates else np.zeros(len(keys), bool)
    if again.any():
        example = f"key {keys[again].min():016x}"
        reasons["duplicate"] = {"count": int(again.sum()), "utt_id": example, "reason": "duplicate"}
    kept = {measure: size[~again] for measure, size in zip(MEASURES, sizes, strict=True)}
    return Available(keys[~again], kept, labels.filter(pa.array(~again)), reasons, np.sort(keys[again]))


def _of_block(file: str) -> tuple[tuple[np.ndarray, ...], pa.DictionaryArray]:
    """Keys, content hashes, sizes by measure; and labels."""
    table = tables.read(file, _READ)
    found = sizes(table)
    labels = pc.dictionary_encode(table["label"].combine_chunks())
    return (table["key"].to_numpy(), table["content"].to_numpy(), *(found[measure] for measure in MEASURES)), labels


def sizes(table: pa.Table) -> dict[str, np.ndarray]:
    """What each document of a token table counts in each measure."""
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
