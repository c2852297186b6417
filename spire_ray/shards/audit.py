"""What was planned against what is there, shard by shard: the part of an audit that every job by shards shares."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from spire_ray.manifest import reader
from spire_ray.manifest.schema import Columns
from spire_ray.shards import account, ids, marks, planning
from spire_ray.shards.shard import Shard

_NAMED = 10


@dataclass
class Audit:
    """What was found in the folder of a job."""

    shards: int = 0
    waiting: int = 0
    """Of what was planned, in shards that are not done."""
    missing: int = 0
    duplicate: int = 0
    unplanned: int = 0
    examples: list[str] = field(default_factory=list)
    """Some missing, duplicate and unplanned ids."""
    rejected: dict[str, int] = field(default_factory=dict)
    """By kind of reason."""

    @property
    def faults(self) -> int:
        """What is lost, doubled or from nowhere."""
        return self.missing + self.duplicate + self.unplanned

    def compare(self, wanted: Counter[str], there: Counter[str]) -> None:
        """What a shard was to hold against what it holds."""
        missing, beyond = wanted - there, there - wanted
        self.missing += missing.total()
        self.duplicate += sum(count if one in wanted else count - 1 for one, count in beyond.items())
        self.unplanned += sum(one not in wanted for one in beyond)
        self.examples += sorted(missing | beyond)[: _NAMED - len(self.examples)]

    def compare_rows(self, shard: Shard, there: list[str], columns: Columns) -> None:
        """The ids that came of a shard against those of its rows; pieces of a recording stand for it, copies for nothing."""
        rows = reader.rows(shard.file, planning.columns_in(shard.file, columns), shard.first, shard.rows, audio_bytes=False)
        wanted = rows["utt_id"].to_pylist()
        if there == wanted:
            return
        known = set(wanted)
        copies = Counter(utt_id for utt_id in there if ids.original(utt_id) in {*known, *there} - {utt_id})
        self.duplicate += copies.total() - len(copies)
        there = [utt_id for utt_id in there if utt_id in known or utt_id not in copies]
        pieces = {ids.parent(utt_id) for utt_id in there if utt_id not in known} & known
        whole = {utt_id: 0 for utt_id in there if utt_id not in known and ids.parent(utt_id) in pieces}
        self.duplicate += sum(utt_id in whole for utt_id in there) - len(whole)
        self.compare(Counter(wanted), Counter([*pieces, *(utt_id for utt_id in there if utt_id not in whole)]))

    def reject(self, errors: Iterable[str | None]) -> None:
        """Count reasons."""
        for kind, count in account.by_reason(errors).items():
            self.rejected[kind] = self.rejected.get(kind, 0) + count

    def line(self) -> str:
        """The faults in words."""
        named = f": {', '.join(self.examples)}" if self.examples else ""
        return f"missing {self.missing}, duplicate {self.duplicate}, not planned {self.unplanned}{named}"


def shards(folder: str, marked: str = "") -> Iterator[tuple[Shard, bool]]:
    """Every planned shard, file by file, and whether it is done, by the marks in the folder or in one below it.

    Raises ValueError for a folder without a plan.
    """
    planned, done = planning.read(folder), marks.done(marked or folder)
    if not planned:
        raise ValueError(f"{folder}: no {planning.PLAN_FILE} there; expected the output folder of a job by shards")
    for shard in sorted(planned, key=lambda shard: (shard.file, shard.first)):
        yield shard, shard.shard in done
