"""What an entry of the box is: a file in `entries/` with a declaration `ENTRY` and a function `run`, in checks of their own."""

import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

POISONED = 70
"""Exit status of an entry whose device no longer answers: the rest of its checks want another process."""
_LINES_KEPT = 12


@dataclass(frozen=True)
class Entry:
    """The declaration."""

    about: str
    minutes: float
    """Its time limit."""
    needs: tuple[str, ...] = ()
    """Modules that a GPU machine does not bring; see `parcels.py`."""
    gib: float = 0.0
    """Memory of the card without which it is left out."""


class Absent(Exception):
    """What a check needs is not here: no failure."""


@dataclass
class Findings:
    """What one check found, filled in by it; figures survive a missed bound."""

    figures: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    """Bounds of correctness that were not kept: the check fails."""
    targets: dict[str, str] = field(default_factory=dict)
    """Speeds that are aimed at, and whether they were reached: no failure, and nothing that a rehearsal speaks of."""
    rehearsal: bool = False

    def __setitem__(self, name: str, value: Any) -> None:
        self.figures[name] = value

    def at_least(self, name: str, value: float, bound: float) -> None:
        """A figure with its lower bound."""
        self._bounded(name, value, bound, value >= bound, "at least")

    def at_most(self, name: str, value: float, bound: float) -> None:
        """A figure with its upper bound."""
        self._bounded(name, value, bound, value <= bound, "at most")

    def target(self, name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """A figure that is aimed at."""
        self.figures[name] = value
        if self.rehearsal:
            return
        reached = value >= at_least if at_least is not None else at_most is not None and value <= at_most
        wanted = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
        self.targets[name] = f"{wanted}: {'reached' if reached else 'not reached'}"

    def _bounded(self, name: str, value: float, bound: float, kept: bool, words: str) -> None:
        self.figures[name] = value
        if not kept:  # a NaN is never kept
            self.missed.append(f"{name} is {value:g}, wanted {words} {bound:g}")


class Day:
    """What `run` gets: the device, the size of things, and where findings go at once."""

    def __init__(self, device: str, small: bool, log: Path) -> None:
        """`small` is the rehearsal; checks that the log knows, ended or not, are not run again."""
        self.device, self.small = device, small
        self._log = log
        self._known = {record["check"] for record in read_log(log)}

    @property
    def on_gpu(self) -> bool:
        """Whether this is the day itself."""
        return self.device == "cuda"

    def check(self, name: str, work: Callable[[Findings], None]) -> bool:
        """Run one check and write down what it found, whatever happens; returns whether it passed."""
        if name in self._known:
            return False
        self._write({"check": name, "status": "began"})
        found, error, status, began = Findings(rehearsal=self.small), "", "passed", time.monotonic()
        try:
            with _peak_memory(self.on_gpu, found):
                work(found)
        except Absent as reason:
            status, error = "absent", str(reason)
        except Exception:
            status, error = "failed", _last_lines(traceback.format_exc())
        status = "failed" if found.missed else status
        self._write(
            {"check": name, "status": status, "seconds": round(time.monotonic() - began, 2), "error": error, **asdict(found)}
        )
        print(f"  {name}: {status}", *found.missed, error.splitlines()[-1] if error else "", flush=True)
        if error and not self._answers():
            sys.exit(POISONED)
        return status == "passed"

    def keep(self, name: str) -> Path:
        """Where a file is written that is kept beside the figures."""
        return self._log.with_suffix(f".{name}")

    def keep_text(self, name: str, text: str) -> None:
        """A text that is kept beside the figures: a profile."""
        self.keep(f"{name}.txt").write_text(text)

    def _answers(self) -> bool:
        import torch

        if not self.on_gpu:
            return True
        try:
            torch.cuda.synchronize()
            return bool(torch.ones(1, device="cuda").item() == 1)
        except Exception:  # whatever it says, it does not answer
            return False

    def _write(self, record: dict[str, Any]) -> None:
        with self._log.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


def in_own_process(work: Callable[..., Any], *given: Any) -> Any:
    """What a function of a module gives in a fresh process: memory of the card is its own, and an end takes nothing with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def declared(name: str) -> Entry:
    """The declaration of an entry."""
    entry: Entry = module(name).ENTRY
    return entry


def module(name: str) -> Any:
    """The file of an entry: of that name in `entries/`, or any module."""
    return importlib.import_module(name if "." in name else f"benchmarks.gpu.entries.{name}")


def read_log(log: Path) -> list[dict[str, Any]]:
    """The records of a log, of each check its last one."""
    lines = log.read_text().splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines]
    return list({record["check"]: record for record in records}.values())


@contextmanager
def _peak_memory(on_gpu: bool, found: Findings) -> Iterator[None]:
    """Note the peak of what PyTorch holds of the card."""
    if not on_gpu:
        yield
        return
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        yield
        torch.cuda.synchronize()
    finally:
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LINES_KEPT:])
