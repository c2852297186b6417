"""Splits: what a stage needs is there; a manifest without them gets `train` and `test`, by a hash of the speaker or the id."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa

from spire_ray.core import storage
from spire_ray.manifest import reader
from spire_ray.manifest.schema import EVERY_SPLIT, Columns, in_split

TRAIN, TEST = "train", "test"


def held_out(tables: Iterable[pa.Table], percent: float) -> Iterator[pa.Table]:
    """Tables whose rows without a split get one: about `percent` are of `test`, all of a speaker on one side.

    Where a row goes depends on its own speaker (its own id, where it names none) alone: a manifest that has grown keeps its
    split. Raises ValueError for a percentage outside of (0, 100) and, at the end, where one side has got nothing.
    """
    sides: Counter[str] = Counter()
    if not 0 < percent < 100:
        raise ValueError(f"--hold-out {percent:g}: a percentage between 0 and 100")
    for table in tables:
        names = zip(*(table[name].to_pylist() for name in ("split", "speaker", "utt_id")), strict=True)
        split = [given or (TEST if _point(speaker or utt_id) < percent else TRAIN) for given, speaker, utt_id in names]
        sides.update(split)
        yield table.set_column(table.schema.get_field_index("split"), "split", pa.array(split, pa.string()))
    if empty := {TRAIN, TEST} - set(sides):
        why = "too few speakers (rows, where no speaker is named) for this share; choose a larger one"
        raise ValueError(f"--hold-out {percent:g}: no row falls into {empty.pop()}: {why}")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(sides.items())) + " rows")


def require(manifest: str, split: str, columns: Columns | None = None) -> None:
    """Raise ValueError for a local manifest that is there and has no row of a split; it is read up to the first."""
    if split == EVERY_SPLIT or manifest.endswith(".tar") or not storage.is_local(manifest):
        return
    if not storage.exists(storage.first(manifest)):
        return
    for _, table in reader.located(manifest, columns or {}, audio_bytes=False, strict=False):
        if any(in_split(given, split) for given in table["split"].to_pylist()):
            return
    raise ValueError(missing(split, manifest))


def missing(split: str, manifest: str) -> str:
    """What is wrong with a split that has no rows, and what can be done."""
    return (
        f"split={split}: no row of {manifest} belongs to it; split={EVERY_SPLIT} takes every row, "
        "and `spire manifest SOURCE TARGET --hold-out PERCENT` gives the rows splits"
    )


def _point(name: str) -> float:
    """A name's place in [0, 100)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) / 2**48 * 100
