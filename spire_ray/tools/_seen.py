"""Rows for `spire inspect --page`: drawn by lot from a manifest or a folder of units, with what was heard of each."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import config, provenance, storage, tables
from spire_ray.core.provenance import RUN_FILE
from spire_ray.manifest import sample
from spire_ray.manifest.schema import REJECTED, Row
from spire_ray.shards import account, ids, marks, planning
from spire_ray.shards.decoding import Decode
from spire_ray.shards.shard import Shard
from spire_ray.units.fingerprint import FINGERPRINT_FILE

_LOT = "inspect"
_SHOWN_SECONDS, _HEARD_SECONDS = 60.0, 600.0
"""Of a recording so much is shown; one that does not say its length is decoded up to the second."""


@dataclass(frozen=True)
class Seen:
    """A row, what was heard of it, and why not; of a folder of units its units, too."""

    row: Row
    samples: np.ndarray
    """int16 at 16 kHz."""
    error: str = ""
    frame_rate: float = 0.0
    place: Mapping[str, Any] = field(default_factory=dict)
    """Its audio as the manifest has it."""


def drawn(path: str, count: int, seed: int, only: str = "", utt_id: str = "") -> tuple[list[Seen], int]:
    """Some rows and how many there are to draw from.

    `only` is `labelled`, `rejected` or one reason of a folder of units, and of a prepared manifest `rejected` or one reason.
    """
    above, _, name = path.rstrip("/").rpartition("/")
    if _stage(path) == "label":
        return _of_units(path, count, seed, only, utt_id)
    if _stage(path) == "prepare" and only:
        return _left_out(path, count, seed, only, utt_id)
    if name == REJECTED and _stage(above or ".") == "prepare":
        return _left_out(above or ".", count, seed, only or REJECTED, utt_id)
    if only:
        raise ValueError(f"--only {only}: {path} is no folder of the stage prepare or label")
    rows, total = sample.some(path, count, seed, _LOT, utt_id=utt_id)
    if not rows:
        raise ValueError(f"{path}: no row {utt_id} there")
    return list(_listened(rows)), total


def _stage(path: str) -> str:
    """What has made a folder; empty where no stage has."""
    return str(provenance.read(path)["stage"]) if storage.exists(storage.join(path, RUN_FILE)) else ""


def _listened(rows: Sequence[Row]) -> Iterator[Seen]:
    """Rows with their audio, by themselves."""
    clips = Decode({}, _HEARD_SECONDS, tolerance=_SHOWN_SECONDS).clips([_begun(row) for row in rows])
    for row, samples, error in chain.from_iterable(clips):
        yield Seen(row, samples, row.get("error") or error, place=_place(row))


def _left_out(path: str, count: int, seed: int, only: str, utt_id: str) -> tuple[list[Seen], int]:
    """What prepare has left out, with its reasons."""
    there = sorted(number for number, mark in marks.by_shard(path, marks.Mark).items() if mark.rejected)
    told = chain.from_iterable(tables.read(marks.part(storage.join(path, REJECTED), number)).to_pylist() for number in there)
    rows, total = _lot((row for row in told if only in (REJECTED, account.reason(row["error"]))), count, seed, utt_id)
    return list(_listened(rows)), total


def _of_units(path: str, count: int, seed: int, only: str, utt_id: str) -> tuple[list[Seen], int]:
    record, planned = provenance.read(path), {shard.shard: shard for shard in planning.read(path)}
    done = sorted(marks.done(path) & planned.keys())
    told = chain.from_iterable(_of_part(path, number, only) for number in done)
    rows, total = _lot(told, count, seed, utt_id)
    settings: Any = config.validate(dict(record["resolved"]), "label", path)
    rate = float(storage.read_json(storage.join(path, FINGERPRINT_FILE))["identity"]["frame_rate"])
    found = []
    for number in sorted({row["shard"] for row in rows}):
        mine = [row for row in rows if row["shard"] == number]
        heard = _heard(Decode.of(settings), planned[number], mine)
        for row in mine:
            samples, error, place = heard.get(row["utt_id"], (_NONE, "", {}))
            found.append(Seen(row, samples, row["error"] or error, rate, place))
    return _ordered(found, rows), total


_NONE = np.zeros(0, np.int16)


def _of_part(path: str, number: int, only: str) -> Iterator[Row]:
    for row in tables.read(marks.part(path, number)).to_pylist():
        reason = account.reason(row["error"]) if row["error"] else ""
        if not only or only in (row["status"], reason):
            yield row | {"shard": number}


def _heard(decode: Decode, shard: Shard, rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    """Id → samples, error and place, of the rows, pieces and copies of a shard that are asked for."""
    table, *_ = decode.read(shard)
    known = set(table["utt_id"].to_pylist())
    wanted = {ids.planned(row["utt_id"], known) for row in rows}
    given = table.filter(_in(table, pa.array(list(wanted), pa.string()))).to_pylist()
    return {row["utt_id"]: (samples, error, _place(row)) for row, samples, error in decode.heard(given, shard)}


def _lot(rows: Iterator[Row], count: int, seed: int, utt_id: str) -> tuple[list[Row], int]:
    """Rows by lot, or the one of an id, and how many there were. Raises ValueError for none."""
    total, kept = 0, list[tuple[float, int, Row]]()
    for row in rows:
        total += 1
        if utt_id and row["utt_id"] != utt_id:
            continue
        heapq.heappush(kept, (-sample.chance(row["utt_id"], seed, _LOT), -total, row))
        if len(kept) > count:
            heapq.heappop(kept)
    if not kept:
        raise ValueError(f"no row {utt_id or 'of that kind'} there")
    return [row for *_, row in sorted(kept, key=lambda each: -each[1])], total


def _in(table: pa.Table, names: pa.Array) -> pa.Array:
    return pc.is_in(table["utt_id"], names)


def _begun(row: Row) -> Row:
    long = row["duration"] is not None and row["duration"] > _SHOWN_SECONDS
    return row | {"offset": row["offset"] or 0.0, "duration": _SHOWN_SECONDS} if long else row


def _place(row: Row) -> dict[str, Any]:
    audio = row.get("audio") or {}
    return {"path": audio.get("path") or ("inside the manifest" if audio.get("bytes") is not None else "")}


def _ordered(found: list[Seen], rows: Sequence[Row]) -> list[Seen]:
    by_id = {seen.row["utt_id"]: seen for seen in found}
    return [by_id[row["utt_id"]] for row in rows if row["utt_id"] in by_id]
