"""The rows of a shard, decoded on CPUs."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.audio import cut, decode, probe
from spire_ray.audio.pcm import to_pcm
from spire_ray.audio.source import UNREACHABLE
from spire_ray.core import storage
from spire_ray.manifest import reader, recording
from spire_ray.manifest.schema import Columns, Row
from spire_ray.settings import SAMPLE_RATE, LabelSettings
from spire_ray.shards import augmentation, heard, ids, parts, planning
from spire_ray.shards.decoded import NOTHING, Clip, Decoded, other_length
from spire_ray.shards.shard import Shard, check

_SILENCE = "digital silence"
_WHOLE = Shard(0, "", 0, 0)
"""For rows that are no part of a plan: recordings are whole."""
_PAUSES = (1.0, 4.0)
"""Seconds before what could not be reached is tried again."""
_PATIENCE = 120.0
"""Seconds that a shard waits in all for rows that are withheld. A server that never answers takes six minutes for each."""
_FOLDER, _MISSING = 3, ("no such file", "no such key")
"""So many files of a folder, and all of them missing, are no fault of theirs."""


@dataclass(frozen=True)
class Decode:
    """Row of the plan → its manifest rows with decoded audio; as a Ray Data task, `Decoded` as a table."""

    columns: Columns
    max_seconds: float
    cut_seconds: float = 0.0
    silence: str = "keep"
    tolerance: float = decode.ROUNDED_SECONDS
    """Seconds by which a part may end behind its recording, and a recording that is cut may be longer or shorter than it says."""
    output: str = ""
    """The folder whose rejected rows are tried again, where a row of the plan says `again`."""
    augmented: augmentation.Augmentation = augmentation.NONE

    @staticmethod
    def of(settings: LabelSettings) -> "Decode":
        """As labelling is set."""
        augment = settings.augment
        return Decode(
            dict(settings.columns),
            settings.max_seconds,
            settings.cut_seconds,
            settings.silence,
            settings.length_tolerance,
            settings.output,
            augmentation.Augmentation.of(augment, settings.output, augment.split, settings.length_tolerance),
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See `shard`."""
        return self.shard(batch).to_table()

    def shard(self, batch: pa.Table) -> Decoded:
        """Raises ValueError if the rows are not those that were planned."""
        row = batch.to_pylist()[0]
        shard = Shard.of(row)
        table, source, inside = self.read(shard)
        if row.get("again"):
            names = parts.rejected(self.output, shard.shard, row["again"])
            table = table.filter(pc.is_in(table["utt_id"], pa.array(list(names), pa.string())))
        clips = self.heard(table.to_pylist(), shard)
        told = (bool(row.get("again")), shard.digest, shard.carried, inside, source if inside else "")
        return Decoded.of(shard.shard, clips, *told)

    def read(self, shard: Shard) -> tuple[pa.Table, str, str]:
        """Rows of the manifest, the version of their file and the hash of the audio inside them. Raises as `shard` does."""
        source = storage.version(shard.file)
        table = reader.rows(shard.file, planning.columns_in(shard.file, self.columns), shard.first, shard.rows)
        check(shard, table)
        return table, source, heard.digest(table)

    def heard(self, rows: list[Row], shard: Shard = _WHOLE) -> list[Clip]:
        """What all rows become, each with its copies behind it."""
        return [one for clip in chain.from_iterable(self.clips(rows, shard)) for one in (clip, *self._copies(clip))]

    def clips(self, rows: list[Row], shard: Shard = _WHOLE) -> list[list[Clip]]:
        """What each row becomes. What cannot be reached is tried again after a while; in the end the rest has the last reason."""
        made: dict[int, list[Clip]] = {}
        waited, why = 0.0, ""
        for pause in (0.0, *_PAUSES):
            left = [number for number in range(len(rows)) if number not in made or _withheld(made[number])]
            if left and waited < _PATIENCE:
                time.sleep(pause)
            for several in _by_recording(rows, left):
                if waited >= _PATIENCE:
                    made |= {number: [_refused(rows[number], shard, why)] for number in several}
                    continue
                began = time.monotonic()
                with _shared(rows, several) as sound:
                    made |= {number: list(self._decoded(rows[number], shard, sound)) for number in several}
                if found := [error for number in several for error in _withheld(made[number])]:
                    waited, why = waited + time.monotonic() - began, found[-1]
        _whole_folders(rows, made)
        return [made[number] for number in range(len(rows))]

    def _copies(self, clip: Clip) -> Iterator[Clip]:
        for row, samples, error in self.augmented.made(*clip):
            too_long = len(samples) > self.max_seconds * SAMPLE_RATE
            yield row, NOTHING if too_long else samples, f"longer than {self.max_seconds:g} s" if too_long else error

    def _decoded(self, row: Row, shard: Shard, sound: Any = None) -> Iterator[Clip]:
        """The row with its audio or the reason why not; of a long recording its pieces."""
        try:
            decode.check_part(row["offset"] or 0.0, row["duration"])
            if self.cut_seconds and (seconds := recording.seconds(row)) > self.cut_seconds:
                decoded = list(self._pieces(row | {"duration": seconds}, shard))
            else:
                decoded = [(row, self._whole(row, sound))]
        except decode.AudioError as error:
            yield _refused(row, shard, str(error))
        except MemoryError:
            raise
        except Exception as error:  # of a decoder or the resampler, whatever one row can do
            reason = f"not decodable: {type(error).__name__}: {' '.join(str(error).split())}"
            yield _refused(row, shard, reason)
        else:
            for given, samples in decoded:
                silent = self.silence == "reject" and not samples.any()
                if given["duration"] is None:
                    given = given | {"duration": len(samples) / SAMPLE_RATE}
                yield given, NOTHING if silent else samples, _SILENCE if silent else ""

    def _whole(self, row: Row, sound: Any) -> np.ndarray:
        offset, duration = recording.part(row)
        if sound is None:
            with decode.opened(recording.source(row["audio"]), offset, duration, self.max_seconds) as sound:
                return decode.pcm(sound, offset, duration, self.max_seconds, self.tolerance)
        return decode.pcm(sound, offset, duration, self.max_seconds, self.tolerance)

    def _pieces(self, row: Row, shard: Shard) -> Iterator[tuple[Row, np.ndarray]]:
        origin = row["offset"] or 0.0
        last = shard.end is None or shard.end >= row["duration"]
        whole = row["offset"] is None
        source, begin = recording.source(row["audio"]), origin + (shard.begin or 0.0)
        if whole and (found := probe.probe(source)).is_known and abs(found.seconds - row["duration"]) > self.tolerance:
            raise decode.AudioError(other_length(found.seconds, row["duration"]))
        end = None if whole and last else origin + min(shard.end or row["duration"], row["duration"])
        for start, waveform in cut.pieces(source, self.cut_seconds, begin, end, origin=origin, exact_end=last):
            samples = to_pcm(waveform)
            yield _piece(row, start) | {"duration": len(samples) / SAMPLE_RATE}, samples


def _withheld(clips: list[Clip]) -> list[str]:
    return [error for *_, error in clips if error.startswith(UNREACHABLE)]


def _refused(row: Row, shard: Shard, why: str) -> Clip:
    return row if shard.begin is None else _piece(row, shard.begin), NOTHING, why


def _by_recording(rows: list[Row], numbers: list[int]) -> Iterator[list[int]]:
    """Rows that are parts of one file together, in the order of their places in it; every other by itself."""

    def place(number: int) -> tuple[str, float]:
        row = rows[number]
        return (row["audio"] or {}).get("path") or "", row["offset"] or 0.0

    def is_part(number: int) -> bool:
        row = rows[number]
        if not place(number)[0] or row["audio"]["bytes"] is not None or row["offset"] is None or row["duration"] is None:
            return False
        return bool(np.isfinite(row["offset"] + row["duration"]) and min(row["offset"], row["duration"]) >= 0)

    yield from ([number] for number in numbers if not is_part(number))
    for _, several in groupby(sorted(filter(is_part, numbers), key=place), lambda number: place(number)[0]):
        yield list(several)


@contextmanager
def _shared(rows: list[Row], numbers: list[int]) -> Iterator[Any]:
    """The open sound of several parts of a file: one decoder goes through it once. None where each opens its own."""
    with ExitStack() as stack:
        sound = None
        if len(numbers) > 1:
            begin = min(rows[number]["offset"] for number in numbers)
            end = max(rows[number]["offset"] + rows[number]["duration"] for number in numbers)
            with suppress(decode.AudioError):  # which each row finds again, and has as its reason
                path = rows[numbers[0]]["audio"]["path"]
                sound = stack.enter_context(decode.reader(path, begin, end - begin, whole=False))
        yield sound


def _whole_folders(rows: list[Row], made: dict[int, list[Clip]]) -> None:
    """Where of a folder no file at all is found, the folder is missing, and not its files."""
    folders: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        folders[recording.folder(row["audio"])].append(number)
    for folder, numbers in folders.items():
        clips = [clip for number in numbers for clip in made[number]]
        if folder and len(numbers) >= _FOLDER and all(error in _MISSING for *_, error in clips):
            for number in numbers:
                made[number] = [(row, samples, f"{UNREACHABLE}: no file of {folder}") for row, samples, _ in made[number]]


def _piece(row: Row, start: float) -> Row:
    """A row for a piece of a recording: named after it, without the texts, which are of the whole."""
    return row | {"utt_id": ids.piece(row["utt_id"], start), "offset": start, "text": None, "translations": None}
