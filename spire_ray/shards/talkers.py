"""The recordings whose babble is heard behind others: drawn by a seed, decoded, and kept with the output."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from spire_ray.core import storage, tables
from spire_ray.manifest import reader, sample
from spire_ray.manifest.schema import Columns, Row
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
    heard = dict(_heard(sample.some(manifest, _MANY, seed, "talker", columns, split)[0]))
    if not heard:
        raise ValueError(f"augment.copies: babble is made of recordings of {manifest}, and none that was drawn can be heard")
    pcm = pa.array(list(heard.values()), pa.list_(pa.int16()))
    tables.write(place, pa.table({"utt_id": list(heard), "pcm": pcm}))


def _heard(rows: list[Row]) -> Iterator[tuple[str, np.ndarray]]:
    begun = [row | {"offset": row["offset"] or 0.0, "duration": min(row["duration"] or np.inf, _SECONDS)} for row in rows]
    for [(row, samples, error)] in Decode({}, _SECONDS, tolerance=_SECONDS).clips(begun):
        if not error and samples.any():
            yield row["utt_id"], samples
