"""Checkpoints: `step-00000400/` written by all workers, complete once rank 0 has added `COMPLETE.json`.

One authority: every start takes the newest complete one and passes damaged ones with a line.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from spire_ray import storage

COMPLETE_FILE = "COMPLETE.json"
_STEP = re.compile(r"step-(\d{8})")


def name(step: int) -> str:
    """Folder name of a step."""
    return f"step-{step:08d}"


def complete(folder: str, step: int, facts: dict[str, Any]) -> None:
    """Mark a checkpoint complete, with sizes and checksums of its files. Called by rank 0 after all have written."""
    path = Path(folder) / name(step)
    files = {
        str(file.relative_to(path)): {"bytes": file.stat().st_size, "sha256": _checksum(file)}
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    storage.write_json(str(path / COMPLETE_FILE), {"step": step, "files": files, **facts})


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
        if not (path / file).is_file():
            return f"{file} is missing"
        if (path / file).stat().st_size != facts["bytes"] or _checksum(path / file) != facts["sha256"]:
            return f"{file} is damaged"
    return None


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
