"""Part files of shards: which rows of one are tried again, and how new rows take the place of old ones."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from spire_ray.core import tables
from spire_ray.manifest.schema import LABELLED, REJECTED, UNITS
from spire_ray.shards import account, ids, marks


def unit_rows(rows: pa.Table, labelled: dict[int, tuple[np.ndarray, np.ndarray]], errors: list[str]) -> pa.Table:
    """Rows of a manifest with the units and durations of those that were labelled, by their number, and why others were not."""
    empty = (np.zeros(0, np.uint16), np.zeros(0, np.uint16))
    pairs = [labelled.get(i, empty) for i in range(len(errors))]
    made = {
        "units": pa.array([units for units, _ in pairs], pa.list_(pa.uint16())),
        "durations": pa.array([durations for _, durations in pairs], pa.list_(pa.uint16())),
        "status": pa.array([REJECTED if error else LABELLED for error in errors]),
        "error": pa.array([error or None for error in errors], pa.string()),
    }
    return pa.table([made[name] if name in made else rows[name] for name in UNITS.names], schema=UNITS)


def rejected(folder: str, shard: int, kinds: Sequence[str]) -> dict[str, str]:
    """Ids of the rows of a part that were rejected for one of some kinds of reasons, and the reason of each."""
    table = tables.read(marks.part(folder, shard), ["utt_id", "error"])
    pairs = zip(table["utt_id"].to_pylist(), table["error"].to_pylist(), strict=True)
    return {utt_id: error for utt_id, error in pairs if error and account.reason(error) in kinds}


def merged(folder: str, shard: int, new: pa.Table) -> pa.Table:
    """The rows of a part with those that were made again, in their places."""
    old = tables.read(marks.part(folder, shard))
    places = {utt_id: number for number, utt_id in enumerate(new["utt_id"].to_pylist())}
    both = pa.concat_tables([old, new.cast(old.schema)])
    return both.take([len(old) + places[i] if i in places else n for n, i in enumerate(old["utt_id"].to_pylist())])


def with_columns(folder: str, shard: int, rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows of a part with some columns as its manifest has them now. A piece of a recording keeps having no texts."""
    old = tables.read(marks.part(folder, shard))
    known = {utt_id: number for number, utt_id in enumerate(rows["utt_id"].to_pylist())}
    there = old["utt_id"].to_pylist()
    of = [ids.planned(utt_id, known) for utt_id in there]
    is_whole = [name in (utt_id, ids.original(utt_id)) for name, utt_id in zip(of, there, strict=True)]
    taken = rows.take(pa.array([known.get(name) for name in of], pa.int64()))
    for name in names:
        column = taken[name].combine_chunks()
        if name in ("text", "translations"):
            values = zip(is_whole, column.to_pylist(), strict=True)
            column = pa.array([value if whole else None for whole, value in values], column.type)
        old = old.set_column(old.schema.get_field_index(name), old.schema.field(name), column)
    return old
