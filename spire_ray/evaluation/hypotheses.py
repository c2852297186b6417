"""What models answered: `hypotheses/MODEL/TASK/part-….parquet`, a file for each shard of the test set, whole or not there."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from spire_ray.core import lock, storage, tables

FOLDER = "hypotheses"
PLAN = "plan.json"
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
        ("speaker", pa.string()),
    ]
)
"""One row of the test set. `prompt` is the form of the prompts and of the model, `source` and `target` are the languages of what
is asked about and of the answer, `text` is what a metric may compare a translation with. A row that was not asked has an `error`
instead of a `hypothesis`. `seconds` is its share of its batch, `duration` is that of the speech."""
NOT_ASKED = "no "
"""How the `error` of a row begins that lacks what its task needs."""


def write(folder: str, model: str, task: str, shard: int, rows: list[dict[str, Any]]) -> None:
    """The answers of a shard."""
    lock.check(folder)
    tables.write(_part(folder, model, task, shard), pa.Table.from_pylist(rows, SCHEMA))


def read(folder: str, model: str, task: str, shard: int) -> list[dict[str, Any]]:
    """The answers of a shard."""
    return list(tables.read(_part(folder, model, task, shard)).to_pylist())


def done(folder: str, model: str, task: str) -> set[int]:
    """Numbers of the shards that are there."""
    names = storage.listing(storage.join(folder, FOLDER, model, task))
    return {int(name[5:-8]) for name in names if name.startswith("part-") and name.endswith(".parquet")}


def begin(folder: str, tasks: dict[str, list[str]], shards: int, rows: str, **about: str) -> None:
    """Say what there will be: the tasks of each model, in so many shards of rows with this digest, and what holds for all."""
    require_rows(folder, rows)
    storage.write_json(storage.join(folder, FOLDER, PLAN), {"tasks": tasks, "shards": shards, "rows": rows, **about})


def plan(folder: str) -> dict[str, Any]:
    """What `begin` wrote; empty where nothing has begun."""
    path = storage.join(folder, FOLDER, PLAN)
    return dict(storage.read_json(path)) if storage.exists(path) else {}


def require_rows(folder: str, rows: str) -> None:
    """Raise ValueError where the folder holds answers about other rows than those with this digest."""
    if plan(folder).get("rows", rows) != rows:
        raise ValueError(f"output={folder}: the rows of the test set have changed since they were asked about; choose another")


def everything(folder: str) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """(model, task, answers) of a folder. Raises ValueError for one without answers, or with some missing."""
    said = plan(folder)
    if not said:
        raise ValueError(f"hypotheses={folder}: holds no {FOLDER}/{PLAN}; make it with the stage generate")
    wanted = set(range(said["shards"]))
    for model, tasks in said["tasks"].items():
        for task in tasks:
            if missing := wanted - done(folder, model, task):
                path = _part(folder, model, task, min(missing))
                raise ValueError(f"hypotheses={folder}: {len(missing)} shards are missing, such as {path}; run generate again")
    for model, tasks in said["tasks"].items():
        for task in tasks:
            yield model, task, [row for shard in sorted(wanted) for row in read(folder, model, task, shard)]


def _part(folder: str, model: str, task: str, shard: int) -> str:
    return storage.join(folder, FOLDER, model, task, f"part-{shard:06d}.parquet")
