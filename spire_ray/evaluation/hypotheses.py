"""What models answered: `hypotheses/MODEL/TASK/` with a part file and a mark for each shard of the test set."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from spire_ray.core import config, lock, storage, tables
from spire_ray.shards import account, marks, planning
from spire_ray.shards.marks import Answers
from spire_ray.shards.shard import Shard

FOLDER = "hypotheses"
_ASKED = "asked.json"
SCHEMA = pa.schema(
    [
        ("utt_id", pa.string()),
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("source", pa.string()),
        ("target", pa.string()),
        ("text", pa.string()),
        ("reference", pa.string()),
        ("hypothesis", pa.string()),
        ("error", pa.string()),
        ("tokens", pa.int32()),
        ("seconds", pa.float64()),
        ("duration", pa.float64()),
        ("corpus", pa.string()),
        ("speaker", pa.string()),
    ]
)
"""One row of the test set. `prompt` is the form of the prompts and of the model, `source` and `target` are the languages of what
is asked about and of the answer, `text` is what a metric may compare a translation with. A row that was not asked has an `error`
instead of a `hypothesis`. `seconds` is its share of its batch, `duration` is that of the speech."""
NOT_ASKED = "no "
"""How the `error` of a row begins that lacks what its task needs."""


def place(folder: str, model: str, task: str) -> str:
    """Where a model's answers to a task are, with their marks."""
    return storage.join(folder, FOLDER, model, task)


def write(folder: str, model: str, task: str, shard: Shard, rows: list[dict[str, Any]]) -> None:
    """The answers of a shard, then the mark that it is done."""
    lock.check(folder)
    where = place(folder, model, task)
    tables.write(marks.part(where, shard.shard), pa.Table.from_pylist(rows, SCHEMA))
    counts = Answers(
        rows=len(rows),
        rejected=account.by_reason(row["error"] for row in rows),
        seconds=sum(row["seconds"] for row in rows),
        tokens=sum(row["tokens"] for row in rows),
        digest=shard.digest,
    )
    lock.check(folder)
    marks.write(where, shard.shard, counts)


def read(folder: str, model: str, task: str, shard: int) -> list[dict[str, Any]]:
    """The answers of a shard."""
    return list(tables.read(marks.part(place(folder, model, task), shard)).to_pylist())


def todo(folder: str, model: str, task: str, shards: Sequence[Shard], retry: str) -> set[int]:
    """Shards without answers about their rows as they are now, and those in which a row is to be asked about again.

    Asking again does not help a row that lacks something.
    """
    there = marks.by_shard(place(folder, model, task), Answers)
    missing = {shard.shard for shard in account.unfinished(shards, there)}
    again = {
        shard.shard
        for shard in shards
        if shard.shard not in missing
        and any(not reason.startswith(NOT_ASKED) for reason in account.again(there[shard.shard], retry))
    }
    return missing | again


def begin(folder: str, tasks: dict[str, list[str]], **about: str) -> None:
    """Say what there will be: the tasks of each model, and what holds for all."""
    storage.write_json(storage.join(folder, FOLDER, _ASKED), {"tasks": tasks, **about})


def asked(folder: str) -> dict[str, Any]:
    """What `begin` wrote; empty where nothing has begun."""
    path = storage.join(folder, FOLDER, _ASKED)
    return dict(storage.read_json(path)) if storage.exists(path) else {}


def everything(folder: str) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """(model, task, answers) of a folder. Raises ValueError for one without answers, or with some missing."""
    every, shards = pairs(folder), planning.read(folder)
    for model, task in every:
        where = place(folder, model, task)
        if missing := account.unfinished(shards, marks.by_shard(where, Answers)):
            path = marks.part(where, missing[0].shard)
            raise ValueError(f"hypotheses={folder}: {len(missing)} shards are missing, such as {path}; run generate again")
    for model, task in every:
        yield model, task, [row for shard in shards for row in read(folder, model, task, shard.shard)]


def pairs(folder: str) -> list[tuple[str, str]]:
    """Models and tasks of a folder. Raises ValueError for one without answers."""
    said = asked(folder)
    if not said:
        raise ValueError(f"hypotheses={folder}: holds no {FOLDER}/{_ASKED}; make it with the stage generate")
    return [(model, task) for model, tasks in said["tasks"].items() for task in tasks]


def reasons(folder: str, tasks: dict[str, list[str]]) -> set[str]:
    """Why rows have no answer."""
    places = [place(folder, model, task) for model, of in tasks.items() for task in of]
    return {kind for where in places for mark in marks.read(where, Answers) for kind in mark.rejected}


def content(folder: str) -> str:
    """A hash of what lies in a folder."""
    return config.digest([[*pair, marks.content(place(folder, *pair), Answers)] for pair in pairs(folder)])
