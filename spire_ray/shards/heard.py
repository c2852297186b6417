"""Audio that lies inside Parquet files: whether it is still what a shard was made of.

A plan reads no audio. Where a file has changed since a shard of it was done, its bytes are read once more and hashed; only a
shard whose audio is another is made anew.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage
from spire_ray.manifest import reader
from spire_ray.manifest.schema import Columns
from spire_ray.shards import marks, planning
from spire_ray.shards.shard import Shard


def digest(rows: pa.Table) -> str:
    """Hash of the audio inside some rows, in their order; empty where all of it is in files of its own."""
    found = pc.struct_field(rows["audio"].combine_chunks(), ["bytes"])
    if found.null_count == len(found):
        return ""
    made = hashlib.blake2b(digest_size=8)
    for content in found:
        made.update(content.as_buffer() if content.is_valid else b"-")
        made.update(b"|")
    return made.hexdigest()


def doubtful(folder: str, planned: Sequence[Shard]) -> Iterator[Shard]:
    """Done shards with audio inside a file that has changed since, or whose time has."""
    there, versions = marks.by_shard(folder, marks.Mark), dict[str, str]()
    for shard in planned:
        mark = there.get(shard.shard)
        if mark is None or not mark.heard or mark.digest != shard.digest:
            continue
        if shard.file not in versions:
            versions[shard.file] = storage.version(shard.file)
        if versions[shard.file] != mark.source:
            yield shard


class Compare:
    """A Ray Data task: a doubtful shard → whether its audio is another, and its rows and mark are gone."""

    def __init__(self, output: str, columns: Columns) -> None:
        self._output, self._columns = output, columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: a shard of the plan. Out: `changed`."""
        shard = Shard.of(batch.to_pylist()[0])
        source = storage.version(shard.file)
        rows = reader.rows(shard.file, planning.columns_in(shard.file, self._columns), shard.first, shard.rows)
        mark = marks.one(self._output, shard.shard, marks.Mark)
        if same := digest(rows) == mark.heard:
            marks.write(self._output, shard.shard, replace(mark, source=source))
        else:
            marks.discard(self._output, shard.shard)
        return pa.table({"changed": [not same]})
