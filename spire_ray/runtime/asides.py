"""Shards that a worker sets aside: tried on another node, and at last named with their reason.

A node at fault is left out: one that does not see what the driver sees. Where the driver does not see it either, or rows are
rejected for reasons of their own, the shard is tried on one other node, whose word counts. When for a while nothing else than
shards that nobody can reach has come back, the storage is away, and the job ends.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import pyarrow as pa

from spire_ray.runtime import nodes
from spire_ray.shards import proof
from spire_ray.shards.shard import Shard

_NAMED = 3
_OUTAGE = 600.0
"""Seconds in which no shard is done and some are withheld from all."""


@dataclass(frozen=True)
class Aside:
    """Why a shard was not done, as a worker says it; without `why` it was."""

    why: str = ""
    kind: Literal["", "node", "withheld", "rows", "deaths"] = ""
    """The node does not see what it has to; the environment withholds rows; too many are rejected; its workers died."""
    node: str = ""
    utt_id: str = ""
    """A row of those that are withheld."""

    @staticmethod
    def of(row: Mapping[str, Any]) -> "Aside":
        """From a row that may say it."""
        return Aside(**{field.name: row[f"aside_{field.name}"] for field in fields(Aside)}) if "aside_why" in row else Aside()

    def beside(self, table: pa.Table) -> pa.Table:
        """A table of one row that says it, too."""
        for key, value in asdict(self).items():
            table = table.append_column(f"aside_{key}", pa.array([value], pa.string()))
        return table


Pipeline = Callable[[list[dict[str, Any]], Collection[str]], Any]
"""Rows of the plan, and nodes that are left out → a Ray Data set of a row for each."""


def results(
    rows: list[dict[str, Any]], columns: Mapping[str, str], pipeline: Pipeline, given_up_one: Callable[[], None] = lambda: None
) -> Iterator[dict[str, Any]]:
    """What the pipeline says of every shard that is done, in any order; `given_up_one` is called for each that no node can do.

    Raises ValueError in the end for shards that stay undone, with their reasons and nodes.
    """
    undone = {row["shard"]: row | {"last": False} for row in rows}
    avoided, given_up = set[str](), dict[int, Aside]()
    outage = 0.0  # when it began
    while undone:
        doubted: dict[int, Aside] = {}
        made = pipeline(list(undone.values()), avoided).iter_rows()
        for found in made:
            number, aside = found["shard"], Aside.of(found)
            outage = (outage or time.monotonic()) if aside.kind == "withheld" else 0.0
            if not aside.why:
                undone.pop(number, None)
                yield found
            elif outage and time.monotonic() - outage > _OUTAGE:
                raise ValueError(_told({number: aside} | doubted | given_up, rows, len(undone) + len(given_up)))
            elif aside.kind == "deaths" or undone[number]["last"] or not nodes.others({*avoided, aside.node}):
                given_up[number] = aside
                undone.pop(number)
                given_up_one()
            elif aside.kind == "node" or (aside.kind == "withheld" and proof.sees(undone[number], columns, aside.utt_id)):
                print(f"  node {nodes.name(aside.node)} is left out: {aside.why}", flush=True)
                avoided.add(aside.node)
                break  # it fails at once, and would take all that is left
            else:
                doubted[number] = aside
        else:
            undone = {number: undone[number] | {"last": True} for number in doubted}
            doubtful = avoided | {aside.node for aside in doubted.values()}
            avoided = doubtful if nodes.others(doubtful) else avoided
        del made  # which ends its workers
    if given_up:
        raise ValueError(_told(given_up, rows, len(given_up)))


def _told(given_up: Mapping[int, Aside], rows: Sequence[Mapping[str, Any]], undone: int) -> str:
    """Of `undone` shards without those that are not tried any more."""
    shards, named = {row["shard"]: Shard.of(row) for row in rows}, []
    for number, aside in sorted(given_up.items())[:_NAMED]:
        one = shards[number]
        where = f" (on {nodes.name(aside.node)})" if aside.node else ""
        named.append(f"shard {number}, rows {one.first} to {one.first + one.rows - 1} of {one.file}: {aside.why}{where}")
    more = f"; and {len(given_up) - _NAMED} more" if len(given_up) > _NAMED else ""
    if rest := undone - len(given_up):
        more += f"; {rest} not tried any more, since nothing could be reached for {_OUTAGE / 60:g} minutes"
    told = f"{undone} of {len(shards)} shards are set aside: {'; '.join(named)}{more}"
    return f"{told}; what is done stays: mend that and run it again"
