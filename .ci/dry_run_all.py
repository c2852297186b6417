"""Dry-run every configuration in one process."""

import contextlib
import io
import sys
from pathlib import Path

import yaml

from spire_ray.cli import main


def dry_run(path: Path, stage: str) -> int:
    """Exit status of one configuration's dry run."""
    arguments = [str(path)] if stage == "run" else ["--config", str(path)]
    with contextlib.redirect_stdout(io.StringIO()):
        return main([stage, *arguments, "--dry-run"])


failed = [
    str(path)
    for path in sorted(Path("configs").rglob("*.yaml"))
    if "stage" in (data := yaml.safe_load(path.read_text())) and dry_run(path, data["stage"])
]
print(
    f"{len(failed)} configurations failed their dry run: {', '.join(failed)}"
    if failed
    else "every configuration passed its dry run"
)
sys.exit(bool(failed))
