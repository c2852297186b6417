"""Dry-run every configuration in one process."""

import contextlib
import importlib
import io
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path.cwd()))


def dry_run(path: Path, stage: str) -> int:
    """Exit status of one configuration's dry run."""
    arguments = [str(path), "--dry-run"] if stage == "run" else ["--config", str(path), "--dry-run"]
    with contextlib.redirect_stdout(io.StringIO()):
        if stage in ("cpt", "it"):
            return int(importlib.import_module("spire_ray.stages.train").main(stage, arguments))
        package = "tools" if stage == "run" else "stages"
        return int(importlib.import_module(f"spire_ray.{package}.{stage}").main(arguments))


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
