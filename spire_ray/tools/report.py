"""Tables, plots and errors of evaluations; the report of a finished recipe; mean and spread over several seeds."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command, storage
from spire_ray.recipes import report, seeds
from spire_ray.recipes.runner import RECORD_FILE


@command.cli_errors("report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire report", description="Report evaluations, a recipe, or the seeds of one.")
    parser.add_argument("roots", nargs="+", metavar="FOLDER", help="of evaluate or score, or of a recipe: runs/quickstart")
    parser.add_argument("--to", default="report", metavar="FOLDER", help="for the report of evaluations (default: report)")
    options = parser.parse_args(arguments)
    from spire_ray.evaluation import report as evaluations

    if any(evaluations.holds(root) for root in options.roots):
        print(evaluations.write(options.roots, options.to))
        return 0
    if len(options.roots) > 1:
        print(seeds.spread(options.roots))
        return 0
    (root,) = options.roots
    place = storage.join(root, RECORD_FILE)
    module = storage.read_json(place).get("report") if storage.exists(place) else ""
    if not module:
        raise ValueError(
            f"root={root}: neither results of an evaluation there, nor {RECORD_FILE} of a recipe that names a report"
        )
    print(report.of(module, root).text)
    return 0
