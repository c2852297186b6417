"""The output of a job by shards: part files, and the marks of the shards that are done."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from spire_ray.core import lock, storage

_FOLDER = "_done"
_AT_ONCE = 500
"""Marks read side by side."""
_ADDED = (int, float)


@dataclass
class Counts:
    """What every job counts in a shard, or in several; a stage adds its own numbers to it."""

    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By kind of reason."""
    seconds: float = 0.0
    """The actor took."""
    at: float = 0.0
    """When it was done, seconds of Unix time."""
    digest: str = ""
    """What the columns were that the result depends on; as in the plan."""
    carried: str = ""
    """And those that go along."""


@dataclass
class Mark(Counts):
    """What labelling counts."""

    audio_seconds: float = 0.0
    """Labelled."""
    frames: int = 0
    units: int = 0
    """After deduplication."""
    numerics: dict[str, str] = field(default_factory=dict)
    heard: str = ""
    """Hash of the audio that lay inside the rows, and what the version of their file was; see `spire_ray.shards.heard`."""
    source: str = ""


@dataclass
class Translations(Counts):
    """What pseudo-labelling counts; `rejected` are translations that could not be made."""

    translations: int = 0


@dataclass
class Answers(Counts):
    """What a system's answers to a task count; `rejected` are rows without one."""

    tokens: int = 0


C = TypeVar("C", bound=Counts)


def part(folder: str, shard: int) -> str:
    """The file of a shard's rows."""
    return storage.join(folder, f"part-{shard:06d}.parquet")


def write(folder: str, shard: int, mark: Counts) -> None:
    """Mark a shard as done; its part file has been written before. Raises ValueError where another job has the folder now."""
    lock.check(folder)
    storage.write_json(_place(folder, shard), asdict(mark))


def discard(folder: str, shard: int) -> None:
    """Remove the rows and the mark of a shard that is no more."""
    storage.delete(_place(folder, shard))
    storage.delete(part(folder, shard))


def done(folder: str) -> set[int]:
    """Numbers of the shards that are done."""
    return {int(name.removesuffix(".json")) for name in storage.listing(storage.join(folder, _FOLDER)) if name.endswith(".json")}


def read(folder: str, kind: type[Any] = Mark) -> Iterator[Any]:
    """The marks of all shards that are done."""
    yield from by_shard(folder, kind).values()


def by_shard(folder: str, kind: type[C]) -> dict[int, C]:
    """The marks of all shards that are done, by number."""
    known = {field.name for field in fields(kind)}
    return {number: kind(**{k: v for k, v in mark.items() if k in known}) for number, mark in _contents(folder)}


def one(folder: str, shard: int, kind: type[C]) -> C:
    """The mark of a shard."""
    return kind(**storage.read_json(_place(folder, shard)))


def total(found: Iterable[Any], kind: type[Any] = Mark) -> Any:
    """The sum of marks; `at` is the time of the last one."""
    rejected, result = Counter[str](), kind()
    summed = [field.name for field in fields(kind) if isinstance(getattr(result, field.name), _ADDED) and field.name != "at"]
    for mark in found:
        rejected.update(mark.rejected)
        for name in summed:
            setattr(result, name, getattr(result, name) + getattr(mark, name))
        result.at = max(result.at, mark.at)
    result.rejected = dict(rejected)
    return result


def content(folder: str, kind: type[Counts] = Mark) -> str:
    """A hash of what lies in a folder: the rows of each shard by the plan's digests, and what has become of them."""
    left_out = {"seconds", "at", "numerics", "source"}  # the same rows at another time, on another machine, in a copy
    found = hashlib.sha256()
    for number, mark in sorted(by_shard(folder, kind).items()):
        facts = {name: value for name, value in asdict(mark).items() if name not in left_out}
        found.update(json.dumps([number, facts], sort_keys=True).encode())
    return found.hexdigest()[:16]


def numerics(folder: str) -> dict[str, set[str]]:
    """What the shards of a folder were made with: dtype, processor, versions → every value that occurs."""
    found: dict[str, set[str]] = {}
    for _, mark in _contents(folder):
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


def _contents(folder: str) -> Iterator[tuple[int, dict[str, Any]]]:
    numbers = sorted(done(folder))
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        names = [f"{number:06d}.json" for number in some]
        for number, content in zip(some, storage.read_files(storage.join(folder, _FOLDER), names), strict=True):
            yield number, json.loads(content)


def _place(folder: str, shard: int) -> str:
    return storage.join(folder, _FOLDER, f"{shard:06d}.json")
