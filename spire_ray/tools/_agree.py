"""`spire units agree A B`: how far two folders of units of the same utterances say the same, frame by frame."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spire_ray.core import storage, tables
from spire_ray.shards import marks
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint

_READ = ["utt_id", "units", "durations", "status"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("one", help="output folder of the stage label")
    parser.add_argument("other", help="another one, of the same utterances")


@dataclass
class Agreement:
    """What was counted."""

    utterances: int = 0
    """Labelled in both."""
    identical: int = 0
    """Of them, unit for unit and frame for frame."""
    frames: int = 0
    agreeing: int = 0
    alone: int = 0
    """Utterances labelled in one of the folders."""


def run(options: argparse.Namespace) -> None:
    """Print the shares, and what the two were made with where that differs. Raises ValueError for what cannot be compared."""
    one, other = (Fingerprint.from_dict(storage.read_json(_fingerprint(folder))) for folder in (options.one, options.other))
    comparable = {name: getattr(one.identity, name) for name in ("codebook", "frame_rate")}
    Fingerprint(identity=replace(other.identity, **comparable)).require(other, options.one, options.other)  # ids mean the same
    found = agreement(options.one, options.other)
    if not found.utterances:
        raise ValueError(f"{options.one}, {options.other}: no utterance is labelled in both")
    print(
        f"{found.utterances} utterances in both, {found.alone} in one alone; {found.identical / found.utterances:.2%} identical"
    )
    print(f"{found.agreeing / found.frames:.4%} of {found.frames} frames agree")
    for name, (mine, theirs) in _differences(one, other, options.one, options.other).items():
        print(f"  {name}: {mine} against {theirs}")


def agreement(one: str, other: str) -> Agreement:
    """Compare two folders, a part file of the first at a time. A frame that one of two utterances lacks agrees with none."""
    found, total = Agreement(), sum(len(ids) for ids, *_ in _parts(other))
    for ids, labels in _parts(one):
        theirs = dict(pair for part in _parts(other, ids) for pair in zip(*part, strict=True))
        for utt_id, mine in zip(ids, labels, strict=True):
            if (their := theirs.get(utt_id)) is None:
                found.alone += 1
                continue
            shared = min(len(mine), len(their))
            same = int((mine[:shared] == their[:shared]).sum())
            found.utterances += 1
            found.frames += max(len(mine), len(their))
            found.agreeing += same
            found.identical += same == len(mine) == len(their)
    found.alone += total - found.utterances
    return found


def _parts(folder: str, wanted: list[str] | None = None) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Ids and frame labels of the labelled utterances of each part file."""
    filters = [("status", "=", "labelled"), *([("utt_id", "in", wanted)] if wanted else [])]
    for name in storage.listing(folder):
        if name.startswith("part-"):
            rows = tables.read(storage.join(folder, name), _READ, filters).to_pylist()
            yield [row["utt_id"] for row in rows], [codec.expand(np.array(r["units"]), np.array(r["durations"])) for r in rows]


def _differences(one: Fingerprint, other: Fingerprint, folder: str, second: str) -> dict[str, tuple[str, str]]:
    """Parts of identity and numerics that are not the same."""
    mine, theirs = (
        {**vars(print_.identity), **{key: ", ".join(sorted(values)) for key, values in marks.numerics(place).items()}}
        for print_, place in ((one, folder), (other, second))
    )
    keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    return {key: (mine.get(key, "unknown"), theirs.get(key, "unknown")) for key in keys}


def _fingerprint(folder: str) -> str:
    path = storage.join(folder, "fingerprint.json")
    if not storage.exists(path):
        raise ValueError(f"{folder}: no fingerprint.json; expected an output folder of the stage label")
    return path
