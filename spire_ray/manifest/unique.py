"""Repeated ids among any number of rows, in flat memory: 64-bit hashes in buckets on disk."""

import tempfile
from collections.abc import Iterable

import numpy as np

_BUCKETS = 64


class Hashes:
    """Hashes of ids. Two equal ids always share one, two different ids almost never; the caller looks again."""

    def __init__(self) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(_BUCKETS)]  # noqa: SIM115 (closed on exit)

    def __enter__(self) -> "Hashes":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def add(self, ids: Iterable[str]) -> None:
        """Note some ids."""
        hashes = of(ids)
        bucket = hashes % _BUCKETS
        hashes = hashes[np.argsort(bucket, kind="stable")]
        ends = np.cumsum(np.bincount(bucket, minlength=_BUCKETS))
        for file, part in zip(self._files, np.split(hashes, ends[:-1]), strict=True):
            file.write(part.tobytes())

    def repeated(self) -> set[int]:
        """Hashes that were noted more than once."""
        found: set[int] = set()
        for file in self._files:
            file.seek(0)
            values, counts = np.unique(np.frombuffer(file.read(), np.int64), return_counts=True)
            found.update(values[counts > 1].tolist())
        return found


def of(ids: Iterable[str]) -> np.ndarray:
    """Hashes of ids, int64; the same within this process only."""
    return np.fromiter(map(hash, ids), np.int64)
