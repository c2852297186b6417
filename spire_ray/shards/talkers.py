"""The recordings whose babble is heard behind others: drawn by a seed, decoded, and kept with the output."""

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.sample import chance
from spire_ray.manifest.schema import Columns, Row, in_split
from spire_ray.settings import AugmentSettings
from spire_ray.shards import augmentation, ids
from spire_ray.shards.decoding import Decode

_MANY, _SECONDS = 48, 15.0
"""So many recordings, the first seconds of each: 23 MB."""


def prepare(settings: AugmentSettings, manifest: str, columns: Columns, split: str, folder: str) -> None:
    """Write those who babble, once for a folder, where copies are to babble.

    Raises ValueError for ids that copies will have, and where nobody can be heard.
    """
    for _, table in reader.located(manifest, columns, audio_bytes=False, strict=False):
        if found := next(filter(ids.is_copy, table["utt_id"].to_pylist()), ""):
            raise ValueError(f"manifest={manifest}: {found} is called as copies are; label without augment, or call it otherwise")
    place = storage.join(folder, augmentation.TALKERS_FILE)
    if augmentation.babbles(settings.copies) and not storage.exists(place):
        _draw(manifest, columns, split, settings.seed, place)


def _draw(manifest: str, columns: Columns, split: str, seed: int, place: str) -> None:
    heard = dict(_heard(list(_rows(manifest, columns, split, seed))))
    if not heard:
        raise ValueError(f"augment.copies: babble is made of recordings of {manifest}, and none that was drawn can be heard")
    pcm = pa.array(list(heard.values()), pa.list_(pa.int16()))
    tables.write(place, pa.table({"utt_id": list(heard), "pcm": pcm}))


def _rows(manifest: str, columns: Columns, split: str, seed: int) -> Iterator[Row]:
    """Those with the smallest keys; of a Parquet file no audio but theirs is read."""
    keys: list[tuple[float, str, str, int]] = []
    first: Counter[str] = Counter()
    for file, table in reader.located(manifest, columns, audio_bytes=False, strict=False):
        rows = enumerate(zip(table["utt_id"].to_pylist(), table["split"].to_pylist(), strict=True), first[file])
        new = ((chance(utt_id, seed, "talker"), utt_id, file, n) for n, (utt_id, given) in rows if in_split(given, split))
        keys = heapq.nsmallest(_MANY, chain(keys, new))
        first[file] += len(table)
    names = pa.array([utt_id for _, utt_id, file, _ in keys if not reader.is_parquet(file)], pa.string())
    for _, _, file, number in keys if not len(names) else ():
        yield from reader.rows(file, columns, number, 1).to_pylist()
    for _, table in reader.located(manifest, columns, strict=False) if len(names) else ():
        yield from table.filter(pc.is_in(table["utt_id"], names)).to_pylist()


def _heard(rows: list[Row]) -> Iterator[tuple[str, np.ndarray]]:
    begun = [row | {"offset": row["offset"] or 0.0, "duration": min(row["duration"] or np.inf, _SECONDS)} for row in rows]
    for [(row, samples, error)] in Decode({}, _SECONDS, tolerance=_SECONDS).clips(begun):
        if not error and samples.any():
            yield row["utt_id"], samples
