"""How the workers of label come by the audio of a shard, and when they set it aside."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from spire_ray.audio.source import UNREACHABLE
from spire_ray.runtime import nodes
from spire_ray.runtime.asides import Aside
from spire_ray.shards import account, proof
from spire_ray.shards.decoded import Decoded


@dataclass(frozen=True)
class Guard:
    """What a worker asks before it takes a shard."""

    proof: proof.Proof
    deaths: Any
    """`nodes.deaths()`."""

    def refuse(self, work: str, shard: int) -> Aside:
        """Why the shard is not begun; nothing where it is. Then `done` has to follow."""
        if lacking := proof.lacking(self.proof):
            return Aside(lacking, "node", nodes.here())
        why = nodes.begin(self.deaths, f"{work} {shard}")
        return Aside(why, "deaths") if why else Aside()

    def done(self, work: str, shard: int) -> None:
        """The worker has not died over it."""
        self.deaths.end.remote(f"{work} {shard}")


@dataclass(frozen=True)
class Hearing:
    """Row of the plan → decoded shard, or why it is set aside; as a Ray Data task, both in a table."""

    decode: Any
    """`decoding.Decode`."""
    guard: Guard | None
    """Asked where this is a task of its own."""
    most: float
    """Share of the rows that may be rejected."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See the class."""
        assert self.guard is not None
        number = batch["shard"][0].as_py()
        aside = self.guard.refuse("decoding", number)
        decoded = Decoded.nothing(number)
        if not aside.why:
            decoded, aside = self.shard(batch)
            self.guard.done("decoding", number)
        return aside.beside((Decoded.nothing(number) if aside.why else decoded).to_table())

    def shard(self, batch: pa.Table) -> tuple[Decoded, Aside]:
        """The decoded shard, and why it is no use."""
        decoded: Decoded = self.decode.shard(batch)
        return decoded, judged(decoded, batch.to_pylist()[0], self.most)


def judged(decoded: Decoded, row: dict[str, Any], most: float) -> Aside:
    """Why a decoded shard is no use: more than a share of its rows is rejected. Nothing where it is of use."""
    rows = max(row["rows"], len(decoded.errors))
    withheld = [error for error in decoded.errors if error.startswith(UNREACHABLE)]
    if why := account.too_many(withheld, rows, most):
        utt_id = decoded.rows["utt_id"][decoded.errors.index(why)].as_py()
        return Aside(f"{len(withheld)} of {rows} rows {why}", "withheld", nodes.here(), utt_id)
    why = account.too_many(decoded.errors, rows, most)
    if why and not row["last"] and nodes.others({nodes.here()}):
        return Aside(f"{sum(map(bool, decoded.errors))} of {rows} rows are rejected, most as {why!r}", "rows", nodes.here())
    return Aside()
