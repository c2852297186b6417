"""The report of a finished recipe, or mean and spread over several seeds."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command, storage
from spire_ray.quickstart import seeds
from spire_ray.recipes import report
from spire_ray.recipes.runner import RECORD_FILE


@command.cli_errors("report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire report", description="Rebuild a report, or compare the seeds of one recipe.")
    parser.add_argument("roots", nargs="+", metavar="ROOT", help="folder of a finished recipe, such as runs/quickstart")
    options = parser.parse_args(arguments)
    if len(options.roots) > 1:
        print(seeds.spread(options.roots))
        return 0
    (root,) = options.roots
    place = storage.join(root, RECORD_FILE)
    module = storage.read_json(place).get("report") if storage.exists(place) else ""
    if not module:
        raise ValueError(f"root={root}: no {RECORD_FILE} there of a recipe that names a report")
    print(report.of(module, root).text)
    return 0
