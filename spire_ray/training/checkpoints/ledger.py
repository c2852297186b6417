"""Which rows each step was trained on: the proof that a row is trained on once in each epoch, whatever happened.

`ledger/step-00000400.rank-0003.json` holds the rows that worker 3 took in each step since the checkpoint before; it is
written with the checkpoint of step 400. A start strikes out what lies after its checkpoint: those steps are taken again.
"""

from collections.abc import Sequence

from spire_ray.core import storage

FOLDER = "ledger"


class Ledger:
    """The rows of one worker, local or at a URL."""

    def __init__(self, place: str, rank: int) -> None:
        self._place, self._rank = place, rank
        self._open: dict[int, list[int]] = {}

    def add(self, step: int, rows: Sequence[int]) -> None:
        """Note the rows of a step."""
        self._open[step] = list(rows)

    def commit(self, step: int) -> None:
        """Write what was noted since the last commit; the checkpoint of `step` follows."""
        storage.write_json(storage.join(self._place, FOLDER, f"step-{step:08d}.rank-{self._rank:04d}.json"), self._open)
        self._open = {}


def truncate_after(place: str, after: int) -> None:
    """Forget the steps after a checkpoint, of all workers. Called by one of them, before the others write."""
    folder = storage.join(place, FOLDER)
    fs, path = storage.filesystem(folder)
    for name in storage.listing(folder):
        if int(name[5:13]) > after:
            fs.rm(storage.join(path, name))


def read(place: str) -> dict[int, list[int]]:
    """The rows of each step, over all workers, in order."""
    folder = storage.join(place, FOLDER)
    steps: dict[int, list[int]] = {}
    for name in storage.listing(folder):
        for step, rows in storage.read_json(storage.join(folder, name)).items():
            steps.setdefault(int(step), []).extend(rows)
    return {step: sorted(rows) for step, rows in sorted(steps.items())}
