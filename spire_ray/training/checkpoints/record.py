"""What lies in a checkpoint: `step-00000400/` written by all workers, complete once rank 0 has added `COMPLETE.json`."""

import hashlib
from pathlib import Path
from typing import Any

from spire_ray.core import lock, storage

COMPLETE_FILE = "COMPLETE.json"

Files = dict[str, dict[str, Any]]
"""Size in bytes and sha256 of each file, by its path in the checkpoint."""


def name(step: int) -> str:
    """Folder name of a step."""
    return f"step-{step:08d}"


def describe(folder: str, step: int, part: int = 0, parts: int = 1) -> Files:
    """The files of a checkpoint, or every `parts`-th of them: workers share the reading of what they wrote."""
    path = Path(folder) / name(step)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != COMPLETE_FILE)
    return {str(file.relative_to(path)): {"bytes": file.stat().st_size, "sha256": _checksum(file)} for file in files[part::parts]}


def complete(place: str, step: int, facts: dict[str, Any], files: Files) -> dict[str, Any]:
    """Mark a checkpoint, local or at a URL, complete and return its record. Called by rank 0 after all have written."""
    lock.check(place)
    record = {"step": step, "files": files, **facts}
    storage.write_json(storage.join(place, name(step), COMPLETE_FILE), record)
    return record


def integrity_error(file: Path, facts: dict[str, Any]) -> str | None:
    """What a file's size and checksum say: missing, damaged, or None."""
    if not file.is_file():
        return "missing"
    whole = file.stat().st_size == facts["bytes"] and _checksum(file) == facts["sha256"]
    return None if whole else "damaged"


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
