"""How the audio of a shard travels: decoded by a CPU task into one int16 buffer with lengths, never as lists of floats."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.audio import cut, decode
from spire_ray.manifest import planning, reader
from spire_ray.manifest.schema import MANIFEST, Columns, Row
from spire_ray.settings import SAMPLE_RATE

_ROWS = pa.schema([field for field in MANIFEST if field.name != "audio"])
_SILENCE = "digital silence"


@dataclass(frozen=True)
class Decode:
    """Row of the plan → its manifest rows with decoded audio; a Ray Data task.

    Out: one row with `shard`, `rows` (Arrow IPC of the manifest rows), `pcm` (int16 bytes), `lengths` (samples of each
    row, 0 where rejected) and `errors` (reason, or empty).
    """

    columns: Columns
    max_seconds: float
    cut_seconds: float = 0.0
    silence: str = "keep"

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class. Raises ValueError if the rows are not those that were planned."""
        described = batch.to_pylist()[0]
        shard = planning.Shard(**described)
        columns = planning.columns_in(shard.file, self.columns)
        table = reader.rows(shard.file, columns, shard.first, shard.rows)
        planning.check(shard, table)
        rows, pcm, lengths, errors = [], [], [], []
        for row in table.to_pylist():
            for piece, samples, error in self._decoded(row, shard):
                rows.append({name: piece[name] for name in _ROWS.names})
                pcm.append(samples)
                lengths.append(len(samples))
                errors.append(error)
        return pa.table(
            {
                "shard": [shard.shard],
                "rows": pa.array([to_ipc(pa.Table.from_pylist(rows, _ROWS))], pa.large_binary()),
                "pcm": pa.array([np.concatenate(pcm).data], pa.large_binary()),
                "lengths": [lengths],
                "errors": [errors],
            }
        )

    def _decoded(self, row: Row, shard: planning.Shard) -> Iterator[tuple[Row, np.ndarray, str]]:
        """The row with its audio or the reason why not; of a long recording its pieces."""
        try:
            if self.cut_seconds and (row["duration"] or 0.0) > self.cut_seconds:
                decoded = list(self._pieces(row, shard))
            else:
                decoded = [(row, self._whole(row))]
        except decode.AudioError as error:
            yield row if shard.begin is None else _piece(row, shard.begin), _NOTHING, str(error)
        except RuntimeError as error:  # of a decoder or the resampler
            yield row if shard.begin is None else _piece(row, shard.begin), _NOTHING, f"not decodable: {error}"
        else:
            for given, samples in decoded:
                silent = self.silence == "reject" and not samples.any()
                yield given, _NOTHING if silent else samples, _SILENCE if silent else ""

    def _whole(self, row: Row) -> np.ndarray:
        duration = row["duration"] if row["offset"] else None
        return decode.to_pcm(decode.load(reader.audio_source(row["audio"]), row["offset"] or 0.0, duration, self.max_seconds))

    def _pieces(self, row: Row, shard: planning.Shard) -> Iterator[tuple[Row, np.ndarray]]:
        origin = row["offset"] or 0.0
        last = shard.end is None or shard.end >= row["duration"]
        whole = last and row["offset"] is None
        end = None if whole else origin + min(shard.end or row["duration"], row["duration"])
        source, begin = reader.audio_source(row["audio"]), origin + (shard.begin or 0.0)
        for start, waveform in cut.pieces(source, self.cut_seconds, begin, end, origin=origin, exact_end=last):
            samples = decode.to_pcm(waveform)
            yield _piece(row, start) | {"duration": len(samples) / SAMPLE_RATE}, samples


_NOTHING = np.zeros(0, np.int16)


def _piece(row: Row, start: float) -> Row:
    """A row for a piece of a recording: named after it, without the texts, which are of the whole."""
    return row | {"utt_id": f"{row['utt_id']}#{round(start * 1000):09d}", "offset": start, "text": None, "translations": None}


def waveforms(shard: dict[str, Any]) -> list[np.ndarray]:
    """The decoded audio of a shard, float32; empty where decoding was refused."""
    samples = decode.from_pcm(np.frombuffer(shard["pcm"], np.int16))
    return np.split(samples, np.cumsum(shard["lengths"])[:-1])


def to_ipc(table: pa.Table) -> bytes:
    """A table as Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def from_ipc(data: bytes) -> pa.Table:
    """Inverse of `to_ipc`."""
    return pa.ipc.open_stream(data).read_all()
