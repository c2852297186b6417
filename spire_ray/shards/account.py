"""What became of the rows of a job: reasons, what is tried again, and when a job has failed."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from spire_ray.audio.source import UNREACHABLE
from spire_ray.shards.marks import Counts
from spire_ray.shards.shard import Shard

REJECTED = "rejected"
"""As a setting of what is tried again: every row that was rejected."""
_NUMBER = re.compile(r"-?\d[\d.,]*(e[+-]?\d+)?")


def reason(error: str) -> str:
    """The kind of a reason, without the figures of one row."""
    return _NUMBER.sub("…", error.partition(":")[0]).strip()


def by_reason(errors: Iterable[str | None]) -> dict[str, int]:
    """How often each kind of reason occurs."""
    return dict(Counter(reason(error) for error in errors if error))


def too_many(errors: Sequence[str], rows: int, most: float) -> str:
    """The most frequent of the reasons where they reject more than a share of so many rows; else empty."""
    found = Counter(error for error in errors if error)
    return found.most_common(1)[0][0] if found.total() > most * rows else ""


def again(mark: Counts, retry: str) -> list[str]:
    """Of the reasons in a shard those whose rows are tried again: what could not be reached, and what `retry` names."""
    return [kind for kind in mark.rejected if kind == UNREACHABLE or retry in (REJECTED, kind)]


def unfinished(planned: Sequence[Shard], marks: Mapping[int, Counts]) -> list[Shard]:
    """Shards that have no mark, or were made of what has changed since."""
    return [shard for shard in planned if shard.shard not in marks or marks[shard.shard].digest != shard.digest]


def stale(planned: Sequence[Shard], marks: Mapping[int, Counts]) -> list[Shard]:
    """Shards that are done but carry columns as they were."""
    there = [shard for shard in planned if shard.shard in marks and marks[shard.shard].digest == shard.digest]
    return [shard for shard in there if marks[shard.shard].carried != shard.carried]


def check_retry(retry: str, known: Collection[str]) -> None:
    """Raise ValueError for a reason that no row was rejected with."""
    if retry and retry != REJECTED and retry not in known:
        there = ", ".join(sorted(known)) or "no row was rejected"
        raise ValueError(f"retry={retry}: no row has that reason; {REJECTED} tries all, and there are: {there}")


def check(total: Counts, most: float, folder: str) -> None:
    """Raise ValueError for a job in which nothing was labelled, or more than a share of the rows was rejected."""
    rejected = sum(total.rejected.values())
    if not total.rows or rejected <= min(most * total.rows, total.rows - 1):
        return
    worst = max(total.rejected, key=lambda kind: total.rejected[kind])
    share = "nothing was labelled" if rejected == total.rows else f"more than max_rejected_share={most:g}"
    where = "; relative paths count from the folder of the manifest" if worst in ("no such file", UNREACHABLE) else ""
    raise ValueError(
        f"{rejected} of {total.rows} rows were rejected, most as {worst!r}: {share}; `spire rejected {folder}` "
        f"lists them{where}; once that is mended retry=rejected tries them again"
    )


def lines(rejected: Mapping[str, int]) -> list[str]:
    """Reasons in words, the most frequent first."""
    return [f"rejected {count}: {kind}" for kind, count in sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))]
