"""Checkpoints: `step-00000400/` written by all workers, complete once rank 0 has added `COMPLETE.json`.

One authority: every start takes the newest complete one and passes damaged ones with a line.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from spire_ray.core import storage

COMPLETE_FILE = "COMPLETE.json"
_STEP = re.compile(r"step-(\d{8})")


def name(step: int) -> str:
    """Folder name of a step."""
    return f"step-{step:08d}"


Files = dict[str, dict[str, Any]]
"""Size in bytes and sha256 of each file, by its path in the checkpoint."""


def describe(folder: str, step: int, part: int = 0, parts: int = 1) -> Files:
    """The files of a checkpoint, or every `parts`-th of them: workers share the reading of what they wrote."""
    path = Path(folder) / name(step)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != COMPLETE_FILE)
    return {str(file.relative_to(path)): {"bytes": file.stat().st_size, "sha256": _checksum(file)} for file in files[part::parts]}


def complete(folder: str, step: int, facts: dict[str, Any], files: Files | None = None) -> dict[str, Any]:
    """Mark a checkpoint complete and return its record. Called by rank 0 after all have written."""
    record = {"step": step, "files": files or describe(folder, step), **facts}
    storage.write_json(str(Path(folder) / name(step) / COMPLETE_FILE), record)
    return record


def newest(folder: str) -> dict[str, Any] | None:
    """The record of the newest complete checkpoint whose files are all there and whole; None if there is none."""
    steps = sorted((p for p in Path(folder).glob("step-*") if _STEP.fullmatch(p.name)), reverse=True)
    for path in steps:
        damage = _damage(path)
        if damage is None:
            record: dict[str, Any] = storage.read_json(str(path / COMPLETE_FILE))
            return record
        print(f"checkpoint {path}: passed over, {damage}", flush=True)
    return None


def prune(folder: str, keep: int) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what is left of incomplete older ones."""
    steps = sorted(p for p in Path(folder).glob("step-*") if _STEP.fullmatch(p.name))
    finished = [path for path in steps if (path / COMPLETE_FILE).exists()]
    for path in steps:
        if finished[-keep:] and path < finished[-keep:][0]:
            shutil.rmtree(path)


def _damage(path: Path) -> str | None:
    if not (path / COMPLETE_FILE).exists():
        return f"no {COMPLETE_FILE}"
    try:
        files = storage.read_json(str(path / COMPLETE_FILE))["files"]
    except ValueError:
        return f"{COMPLETE_FILE} is damaged"
    for file, facts in files.items():
        if reason := integrity_error(path / file, facts):
            return f"{file} is {reason}"
    return None


def integrity_error(file: Path, facts: dict[str, Any]) -> str | None:
    """What a file's size and checksum say: missing, damaged, or None."""
    if not file.is_file():
        return "missing"
    whole = file.stat().st_size == facts["bytes"] and _checksum(file) == facts["sha256"]
    return None if whole else "damaged"


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
