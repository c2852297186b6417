"""Example configurations, written into a folder to be changed there."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from spire_ray.core import carried, command


@command.cli_errors("init")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    known = carried.recipes()
    listed = "\n".join(f"  {name:<14}{files}" for name, files in known.items())
    parser = argparse.ArgumentParser(
        "spire init",
        description="Write example configurations into a folder.",
        epilog=f"recipes:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="where `configs/` is written; `.` is here")
    parser.add_argument("--recipe", default="quickstart", metavar="NAME", help=f"one of {', '.join(known)}")
    options = parser.parse_args(arguments)
    written = carried.write(options.recipe, Path(options.folder))
    print(f"init: {len(written)} files in {Path(options.folder) / 'configs'}")
    for file in known[options.recipe].split(", "):
        print(f"  spire run {Path('configs') / options.recipe / file}")
    return 0
