"""The report of a finished recipe, or mean and spread over several seeds."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command
from spire_ray.quickstart import report, seeds


@command.cli_errors("report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire report", description="Rebuild a report, or compare the seeds of one recipe.")
    parser.add_argument("roots", nargs="+", metavar="ROOT", help="folder of a finished recipe, such as runs/quickstart")
    options = parser.parse_args(arguments)
    if len(options.roots) == 1:
        print(report.table(report.build(options.roots[0])))
    else:
        print(seeds.spread(options.roots))
    return 0
