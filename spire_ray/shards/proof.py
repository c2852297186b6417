"""What a node has to see before it takes a shard: the output, and recordings that the driver has seen."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from spire_ray.audio import effects
from spire_ray.audio.source import AudioError, opened
from spire_ray.core import storage
from spire_ray.manifest import reader, recording
from spire_ray.shards import ids, planning
from spire_ray.shards.shard import Shard

_SAMPLES = 4
_PAUSES = (0.0, 1.0, 4.0)
"""Seconds before what fails is tried again."""


@dataclass(frozen=True)
class Proof:
    """What a node has to see."""

    output: str
    recordings: tuple[str, ...]


def of(output: str, planned: Sequence[Shard], columns: Mapping[str, str]) -> Proof:
    """The output and the first recordings of a few shards, as far as this process sees them."""
    step = max(1, len(planned) // _SAMPLES)
    found = []
    for shard in planned[::step][:_SAMPLES]:
        rows = reader.rows(shard.file, planning.columns_in(shard.file, columns), shard.first, 1, audio_bytes=False)
        source = recording.source(rows["audio"][0].as_py())
        if isinstance(source, str) and source and not _unseen(effects.split(source)[0]):
            found.append(str(effects.split(source)[0]))
    return Proof(output, tuple(found))


@cache
def lacking(proof: Proof) -> str:
    """What this node does not see, in words; empty where it sees all of it. Asked once in a process."""
    why = ""
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            there = storage.exists(storage.join(proof.output, planning.PLAN_FILE))
            why = "" if there else f"no {planning.PLAN_FILE} in {proof.output}"
        except Exception as error:  # of any library below fsspec
            why = f"{proof.output}: {type(error).__name__}: {error}"
        why = why or next((f"{source}: {told}" for source in proof.recordings if (told := _unseen(source))), "")
        if not why:
            break
    return why


def sees(row: Mapping[str, Any], columns: Mapping[str, str], utt_id: str) -> bool:
    """Whether this process sees the recording of a row of a shard."""
    shard = Shard.of(row)
    table = reader.rows(shard.file, planning.columns_in(shard.file, columns), shard.first, shard.rows, audio_bytes=False)
    names = table["utt_id"].to_pylist()
    source = recording.source(table["audio"][names.index(ids.planned(utt_id, names))].as_py())
    return isinstance(source, str) and bool(source) and not _unseen(effects.split(source)[0])


def _unseen(source: bytes | str) -> str:
    try:
        with opened(source, whole=False) as file:
            file.read(1)
    except (AudioError, OSError) as error:
        return str(error)
    return ""
