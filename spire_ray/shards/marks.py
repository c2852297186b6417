"""The output of a labelling job: part files, and the marks of the shards that are done."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

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
    names = [f"{number:06d}.json" for number in sorted(done(folder))]
    for first in range(0, len(names), _AT_ONCE):
        for content in storage.read_files(storage.join(folder, _FOLDER), names[first : first + _AT_ONCE]):
            yield Mark(**json.loads(content))


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
