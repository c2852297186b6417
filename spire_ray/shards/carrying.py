"""Columns beside the audio that have changed: taken over into the parts, where nothing is labelled again."""

from dataclasses import replace

import pyarrow as pa

from spire_ray.core import tables
from spire_ray.manifest import reader
from spire_ray.shards import marks, parts, planning
from spire_ray.shards.shard import Shard, check, labelling


class CarryOver:
    """A Ray Data task: the rows of a part with the columns of their manifest as they are now; nothing is heard again."""

    def __init__(self, output: str, columns: dict[str, str]) -> None:
        self._output, self._columns = output, columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a shard of the plan. Out: its number."""
        shard = Shard.of(batch.to_pylist()[0])
        columns = planning.columns_in(shard.file, self._columns)
        rows = reader.rows(shard.file, columns, shard.first, shard.rows, audio_bytes=False)
        check(shard, rows)
        table = parts.with_columns(self._output, shard.shard, rows, labelling(1.0).carries)
        tables.write(marks.part(self._output, shard.shard), table)
        mark = marks.one(self._output, shard.shard, marks.Mark)
        marks.write(self._output, shard.shard, replace(mark, carried=shard.carried))
        return pa.table({"shard": [shard.shard]})
