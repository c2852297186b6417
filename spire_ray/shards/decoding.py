"""A shard of audio, decoded on CPUs, and how it travels to the encoder."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spire_ray.audio import cut, decode
from spire_ray.audio.pcm import to_pcm
from spire_ray.manifest import reader, recording
from spire_ray.manifest.schema import MANIFEST, Columns, Row
from spire_ray.settings import SAMPLE_RATE
from spire_ray.shards import planning

_ROWS = pa.schema([field for field in MANIFEST if field.name != "audio"])
_SILENCE = "digital silence"


@dataclass(frozen=True)
class Decoded:
    """The audio of a shard on its way to the encoder."""

    shard: int
    rows: pa.Table
    """Manifest rows without audio."""
    samples: list[np.ndarray]
    """int16 PCM of each row; none where it is rejected."""
    errors: list[str]
    """Why a row is rejected; empty where it is not."""

    def to_table(self) -> pa.Table:
        """One row, as Ray carries it: samples one buffer, never lists of numbers."""
        pcm = np.concatenate(self.samples)
        return pa.table(
            {
                "shard": [self.shard],
                "rows": pa.array([_to_ipc(self.rows)], pa.large_binary()),
                "pcm": pa.LargeListArray.from_arrays([0, len(pcm)], pcm),
                "lengths": [[len(samples) for samples in self.samples]],
                "errors": [self.errors],
            }
        )

    @staticmethod
    def from_table(table: pa.Table) -> "Decoded":
        """Inverse of `to_table`; the samples are not copied."""
        row = {name: table[name][0] for name in ("shard", "rows", "lengths", "errors")}
        pcm = table["pcm"].chunk(0).flatten().to_numpy()
        samples = np.split(pcm, np.cumsum(row["lengths"].as_py())[:-1])
        rows = pa.ipc.open_stream(row["rows"].as_buffer()).read_all()
        return Decoded(row["shard"].as_py(), rows, samples, row["errors"].as_py())

    def refuse_shorter(self, shortest: int) -> None:
        """Reject rows with fewer samples than make a frame of the encoder."""
        for i, samples in enumerate(self.samples):
            if not self.errors[i] and len(samples) < shortest:
                self.errors[i] = f"shorter than one frame: {len(samples)} of {shortest} samples"


@dataclass(frozen=True)
class Decode:
    """Row of the plan → its manifest rows with decoded audio; as a Ray Data task, `Decoded` as a table."""

    columns: Columns
    max_seconds: float
    cut_seconds: float = 0.0
    silence: str = "keep"

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See `shard`."""
        return self.shard(batch).to_table()

    def shard(self, batch: pa.Table) -> Decoded:
        """Raises ValueError if the rows are not those that were planned."""
        shard = planning.Shard(**batch.to_pylist()[0])
        columns = planning.columns_in(shard.file, self.columns)
        table = reader.rows(shard.file, columns, shard.first, shard.rows)
        planning.check(shard, table)
        rows, decoded, errors = [], [], []
        for row in table.to_pylist():
            for piece, samples, error in self._decoded(row, shard):
                rows.append({name: piece[name] for name in _ROWS.names})
                decoded.append(samples)
                errors.append(error)
        return Decoded(shard.shard, pa.Table.from_pylist(rows, _ROWS), decoded, errors)

    def _decoded(self, row: Row, shard: planning.Shard) -> Iterator[tuple[Row, np.ndarray, str]]:
        """The row with its audio or the reason why not; of a long recording its pieces."""
        try:
            if self.cut_seconds and (seconds := recording.seconds(row)) > self.cut_seconds:
                decoded = list(self._pieces(row | {"duration": seconds}, shard))
            else:
                decoded = [(row, self._whole(row))]
        except decode.AudioError as error:
            yield row if shard.begin is None else _piece(row, shard.begin), _NOTHING, str(error)
        except RuntimeError as error:  # of a decoder or the resampler
            yield row if shard.begin is None else _piece(row, shard.begin), _NOTHING, f"not decodable: {error}"
        else:
            for given, samples in decoded:
                silent = self.silence == "reject" and not samples.any()
                if given["duration"] is None:
                    given = given | {"duration": len(samples) / SAMPLE_RATE}
                yield given, _NOTHING if silent else samples, _SILENCE if silent else ""

    def _whole(self, row: Row) -> np.ndarray:
        return decode.load_pcm(recording.source(row["audio"]), *recording.part(row), self.max_seconds)

    def _pieces(self, row: Row, shard: planning.Shard) -> Iterator[tuple[Row, np.ndarray]]:
        origin = row["offset"] or 0.0
        last = shard.end is None or shard.end >= row["duration"]
        whole = last and row["offset"] is None
        end = None if whole else origin + min(shard.end or row["duration"], row["duration"])
        source, begin = recording.source(row["audio"]), origin + (shard.begin or 0.0)
        for start, waveform in cut.pieces(source, self.cut_seconds, begin, end, origin=origin, exact_end=last):
            samples = to_pcm(waveform)
            yield _piece(row, start) | {"duration": len(samples) / SAMPLE_RATE}, samples


_NOTHING = np.zeros(0, np.int16)


def _piece(row: Row, start: float) -> Row:
    """A row for a piece of a recording: named after it, without the texts, which are of the whole."""
    return row | {"utt_id": f"{row['utt_id']}#{round(start * 1000):09d}", "offset": start, "text": None, "translations": None}


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
