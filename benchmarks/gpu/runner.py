"""Runs entries one after the other, each in a process of its own, and keeps what they found whatever ends them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu import machine, results
from benchmarks.gpu.entries import ORDER
from benchmarks.gpu.entry import Entry, declared, read_log

_LOOKED_EVERY = 1.0
"""Seconds between two looks at the log of an entry."""
_SHORTEST = 20.0
"""Seconds left with which no entry begins."""
_PATIENCE = 5
"""Times the limit that a rehearsal has, on a CPU with other work."""
_KEPT = 3000
"""Characters of an entry's own output, from its end."""


@dataclass
class Plan:
    """What is asked for."""

    names: list[str]
    minutes: float
    output: Path
    """Folder of `results.tar`."""
    small: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds."""
        return 60 * self.minutes - (time.monotonic() - self.began)


def chosen(only: list[str]) -> list[str]:
    """Names in order of worth; a word stands for all that begin with it. Raises ValueError for one that names none."""
    for word in only:
        if not any(name.startswith(word) for name in ORDER):
            raise ValueError(f"--only {word}: no such entry; there are {', '.join(ORDER)}")
    return [name for name in ORDER if not only or any(name.startswith(word) for word in only)]


def run(plan: Plan) -> bool:
    """Run what fits into the minutes, most worthy first; returns whether nothing failed."""
    facts = machine.facts()
    kept = results.Results(plan.output, facts["card"], plan.small)
    for name in plan.names:
        try:
            entry, reason = declared(name), ""
        except Exception as error:  # one broken file does not end the day
            entry, reason = Entry(name, 0), f"cannot be imported: {error}"
        reason = reason or _absent(entry, facts, plan)
        record = {"entry": name, "about": entry.about, "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": facts}
        record |= {"asked": {"minutes": plan.minutes, "limit_minutes": entry.minutes, "small": plan.small}}
        if reason:
            kept.put(name, {**record, "status": "failed" if "imported" in reason else "absent", "error": reason, "checks": []})
            print(f"{name}: {reason}", flush=True)
            continue
        print(f"{name}: {entry.about}", flush=True)
        limit = 60 * entry.minutes * (_PATIENCE if plan.small else 1)
        _Process(name, min(limit, plan.left), plan.small, kept, record).run()
    print(kept.summary(), flush=True)
    return kept.good


def _absent(entry: Entry, facts: dict[str, Any], plan: Plan) -> str:
    """Why an entry cannot run here and now; empty if it can."""
    missing = [module for module in entry.needs if find_spec(module) is None]
    if missing:
        return f"needs {', '.join(missing)}: send its parcel along"
    if not plan.small and facts.get("gib", 0.0) < entry.gib:
        return f"needs a card of {entry.gib:g} GiB"
    if plan.left < max(_SHORTEST, min(60 * entry.minutes, 60) if not plan.small else 0):
        return f"no time: {plan.left:.0f} s left"
    return ""


class _Process:
    """One entry at work. Its log grows check by check; each growth goes into the archive."""

    def __init__(self, name: str, limit: float, small: bool, kept: results.Results, record: dict[str, Any]) -> None:
        self._name, self._small, self._kept, self._record = name, small, kept, record
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._log = self._folder / "log.jsonl"
        self._began, self._ends = time.monotonic(), time.monotonic() + limit

    def run(self) -> None:
        """Until it has ended, again as long as each time it gets further: a check may take its process with it."""
        while True:
            known = len(read_log(self._log))
            status = self._once()
            fatal = status != 0 and time.monotonic() < self._ends
            self._keep("ended" if status == 0 else "killed" if not fatal else "died")
            if not fatal or len(read_log(self._log)) == known:
                return

    def _once(self) -> int | None:
        """One process; its exit status, None if its time was up."""
        command = [sys.executable, "-m", "benchmarks.gpu", "--entry", self._name, "--log", str(self._log)]
        command += ["--rehearse"] if self._small else []
        threads = {"OMP_NUM_THREADS": "1"} if self._small else {}  # more than there are free cores make tiny models slow
        with (self._folder / "output").open("a") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | threads
            )
        grown = -1
        while (status := process.poll()) is None and time.monotonic() < self._ends:
            time.sleep(_LOOKED_EVERY)
            if (size := self._log.stat().st_size if self._log.exists() else 0) != grown:
                grown = size
                self._keep("running")
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return status

    def _keep(self, state: str) -> None:
        checks = read_log(self._log)
        if state != "running":
            for check in checks:
                if check["status"] == "began":
                    check |= {"status": "failed", "error": f"its process {state}"}
                    with self._log.open("a") as stream:
                        stream.write(json.dumps(check) + "\n")
        failed = any(check["status"] == "failed" for check in checks) or state != "ended" or not checks
        record = {**self._record, "status": state if state == "running" else "failed" if failed else "passed", "checks": checks}
        record["seconds"] = round(time.monotonic() - self._began, 1)
        output = self._folder / "output"
        record["error"] = output.read_text(errors="replace")[-_KEPT:] if failed and output.exists() else ""
        files = {path.name.removeprefix("log."): path.read_bytes() for path in self._folder.glob("log.*") if path != self._log}
        self._kept.put(self._name, record, files)
