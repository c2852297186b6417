"""The output of a labelling job: part files, and the marks of the shards that are done."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from spire_ray.core import storage

_FOLDER = "_done"
_AT_ONCE = 500
"""Marks read side by side."""


@dataclass
class Mark:
    """What was counted in a shard, or in several."""

    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By kind of reason."""
    audio_seconds: float = 0.0
    """Labelled."""
    frames: int = 0
    units: int = 0
    """After deduplication."""
    seconds: float = 0.0
    """The actor took."""
    at: float = 0.0
    """When it was done, seconds of Unix time."""
    numerics: dict[str, str] = field(default_factory=dict)


def part(folder: str, shard: int) -> str:
    """The file of a shard's rows."""
    return storage.join(folder, f"part-{shard:06d}.parquet")


def write(folder: str, shard: int, mark: Mark) -> None:
    """Mark a shard as done; its part file has been written before."""
    storage.write_json(storage.join(folder, _FOLDER, f"{shard:06d}.json"), asdict(mark))


def done(folder: str) -> set[int]:
    """Numbers of the shards that are done."""
    return {int(name.removesuffix(".json")) for name in storage.listing(storage.join(folder, _FOLDER)) if name.endswith(".json")}


def read(folder: str) -> Iterator[Mark]:
    """The marks of all shards that are done."""
    for mark in _contents(folder):
        yield Mark(**mark)


def _contents(folder: str) -> Iterator[dict[str, Any]]:
    names = [f"{number:06d}.json" for number in sorted(done(folder))]
    for first in range(0, len(names), _AT_ONCE):
        for content in storage.read_files(storage.join(folder, _FOLDER), names[first : first + _AT_ONCE]):
            yield json.loads(content)


def numerics(folder: str) -> dict[str, set[str]]:
    """What the shards of a folder were made with: dtype, processor, versions → every value that occurs."""
    found: dict[str, set[str]] = {}
    for mark in _contents(folder):
        for name, value in mark.get("numerics", {}).items():  # other stages mark their shards, too
            found.setdefault(name, set()).add(value)
    return found


def mixed(folders: Sequence[str]) -> str:
    """How units were made in different ways, in words; empty where they were not."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for name, values in numerics(folder).items():
            found.setdefault(name, set()).update(values)
    return "; ".join(f"{name} {' and '.join(sorted(values))}" for name, values in sorted(found.items()) if len(values) > 1)


def check_numerics(folders: Sequence[str], strict: bool) -> None:
    """Warn of units that were made in different ways; raise ValueError where that is not allowed."""
    if not (found := mixed(folders)):
        return
    if strict:
        raise ValueError(f"units.strict=true: units were made in different ways: {found}; label them anew in one way")
    print(f"  warning: units were made in different ways: {found}; units.strict=true refuses that")


def total(found: Iterable[Mark]) -> Mark:
    """The sum of marks; `at` is the time of the last one."""
    rejected: Counter[str] = Counter()
    result = Mark()
    for mark in found:
        rejected.update(mark.rejected)
        for name in ("rows", "audio_seconds", "frames", "units", "seconds"):
            setattr(result, name, getattr(result, name) + getattr(mark, name))
        result.at = max(result.at, mark.at)
    result.rejected = dict(rejected)
    return result


def reason(error: str) -> str:
    """The kind of a reason, without the figures of one row."""
    return error.partition(":")[0]
