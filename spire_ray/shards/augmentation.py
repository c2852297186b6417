"""Copies of rows under noise, in a room, over a telephone: rows of their own, `ID~babble1`, beside those that they are of.

A copy follows from its row, the seed and the talkers of the folder, whatever the shards and the workers. The talkers, whose
babble is heard behind the speech, are drawn once and stay with the folder while its manifest grows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from spire_ray.audio.distortions import Condition, parsed
from spire_ray.audio.pcm import from_pcm, to_pcm
from spire_ray.core import storage, tables
from spire_ray.manifest.sample import chance
from spire_ray.manifest.schema import EVERY_SPLIT, Row, in_split
from spire_ray.settings import SAMPLE_RATE, AugmentSettings
from spire_ray.shards import ids

TALKERS_FILE = "_talkers.parquet"
_RANGE, _BABBLE = "..", "babble"


@dataclass(frozen=True)
class Augmentation:
    """What copies are made of which rows."""

    copies: tuple[str, ...] = ()
    """`NAME=STRENGTH` or `NAME=LEAST..MOST`."""
    share: float = 1.0
    seed: int = 0
    split: str = EVERY_SPLIT
    folder: str = ""
    """Where the talkers are."""
    tolerance: float = float("inf")
    """Seconds by which a row may be longer or shorter than it says; of another there are no copies, as it is rejected."""

    @staticmethod
    def of(settings: AugmentSettings, folder: str, split: str = EVERY_SPLIT, tolerance: float = float("inf")) -> "Augmentation":
        """As it is set for an output."""
        return Augmentation(settings.copies, settings.share, settings.seed, split, folder, tolerance)

    def made(self, row: Row, samples: np.ndarray, error: str) -> Iterator[tuple[Row, np.ndarray, str]]:
        """The copies of a row, int16 as it is. A row that is rejected has none."""
        if error or not self.copies or not in_split(row["split"], self.split):
            return
        stated, speech = row["duration"], from_pcm(samples)
        if stated is not None and abs(len(samples) / SAMPLE_RATE - stated) > self.tolerance:
            return
        for utt_id, ends in _named(row["utt_id"], self.copies):
            if chance(utt_id, self.seed, "copy") >= self.share:
                continue
            least, most = ends[0].strength, ends[-1].strength
            strength = least + (most - least) * chance(utt_id, self.seed, "strength")
            others = self._others(row["utt_id"]) if ends[0].name == _BABBLE else []
            if ends[0].name == _BABBLE and not others:
                yield row | {"utt_id": utt_id}, np.zeros(0, np.int16), "no other recording to babble"
                continue
            heard = to_pcm(Condition(ends[0].name, strength).apply(speech, utt_id, self.seed, others))
            yield row | {"utt_id": utt_id, "duration": len(heard) / SAMPLE_RATE}, heard, ""

    def _others(self, utt_id: str) -> list[np.ndarray]:
        talkers = _read(storage.join(self.folder, TALKERS_FILE))
        return [samples for name, samples in talkers.items() if name not in (utt_id, ids.parent(utt_id))]


NONE = Augmentation()


def check(copies: Sequence[str]) -> None:
    """Raise ValueError for a copy that cannot be made."""
    for _ in _named("", copies):
        pass


def babbles(copies: Sequence[str]) -> bool:
    """Whether one of the copies is heard among others."""
    return any(ends[0].name == _BABBLE for _, ends in _named("", copies))


@cache
def _read(place: str) -> dict[str, np.ndarray]:
    table = tables.read(place)
    found = zip(table["utt_id"].to_pylist(), table["pcm"], strict=True)
    return {utt_id: from_pcm(samples.values.to_numpy()) for utt_id, samples in sorted(found, key=lambda pair: pair[0])}


def _named(utt_id: str, copies: Sequence[str]) -> Iterator[tuple[str, list[Condition]]]:
    """Ids of the copies of a row, with the least and the greatest strength of each. Raises ValueError as `check` does."""
    numbers: Counter[str] = Counter()
    for text in copies:
        name, _, strength = text.partition("=")
        ends = [parsed(f"{name}={one}", "augment.copies") for one in strength.split(_RANGE)]
        if len(ends) > 2 or ends[0].strength > ends[-1].strength:
            raise ValueError(f"augment.copies: {text}: a range is {name}=LEAST{_RANGE}MOST")
        numbers[name] += 1
        yield ids.copy(utt_id, name, numbers[name]), ends
