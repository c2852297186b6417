"""How much of each source goes into a pack, decided once for all documents.

A document has a key, the hash of seed, utt_id and target language. From its key and source follows a rank that looks
random; a source takes all documents as often as whole epochs say, and those up to a limit of the rank once more. So the
choice depends on the documents alone, never on the order in which they come, and each worker can make it from the limits.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DOCUMENTS_IN_A_GROUP = 110_000
"""Expected; keys spread evenly, so that 100,000 are in each, by 30 standard deviations."""


@dataclass(frozen=True)
class Share:
    """What a source takes."""

    epochs: int
    """How often every document is used."""
    limit: int
    """Documents of a rank below it are used once more."""

    def passes(self, ranks: np.ndarray) -> np.ndarray:
        """How often documents of these ranks are used."""
        return self.epochs + (ranks < np.uint64(self.limit))


def key(seed: int, utt_id: str, target: str = "") -> int:
    """64 bits of a document, one of several where an utterance has several target languages."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{utt_id}\0{target}".encode(), digest_size=8).digest(), "little")


def ranks(keys: np.ndarray, source: int) -> np.ndarray:
    """uint64 keys → uint64 ranks of a source, as good as independent of the keys and of other sources (splitmix64)."""
    with np.errstate(over="ignore"):
        x = keys + np.uint64(source + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


def share(ranks: np.ndarray, sizes: np.ndarray, target: float, most: float) -> Share:
    """The share that brings nearest to `target` in the measure of `sizes`, with no document used more than `most` times."""
    total = float(sizes.sum())
    if not total:
        return Share(0, 0)
    epochs, part = divmod(min(target / total, most), 1)
    order = np.argsort(ranks, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(sizes[order], dtype=np.float64)])
    taken = int(np.argmin(np.abs(reached - part * total)))
    limit = int(ranks[order[taken - 1]]) + 1 if taken else 0
    return Share(int(epochs), limit)


def duplicates(keys: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """Bool [n]: documents whose content another of a lower key has."""
    order = np.lexsort((keys, contents))
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:]] = contents[order[1:]] == contents[order[:-1]]
    return repeated


def groups(documents: int) -> list[tuple[int, int]]:
    """Ranges of keys, [first, last], that hold about `DOCUMENTS_IN_A_GROUP` each."""
    count = max(1, documents // DOCUMENTS_IN_A_GROUP)
    edges: Sequence[int] = [number * 2**64 // count for number in range(count + 1)]
    return [(first, after - 1) for first, after in itertools.pairwise(edges)]
