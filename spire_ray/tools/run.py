"""A recipe: stages in order, each in a process of its own."""

import argparse
import json
from collections.abc import Sequence

from spire_ray.core import command


@command.cli_errors("run")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe; returns the exit status."""
    parser = argparse.ArgumentParser("spire run", description="Run the stages of a recipe; finished ones are kept.")
    parser.add_argument("recipe", help="YAML with `stage: run`")
    parser.add_argument("overrides", nargs="*", metavar="step.key=value", help="settings of a step, or root=FOLDER")
    parser.add_argument("--address", default="", metavar="URL", help="run it as a job of the cluster with this Ray dashboard")
    parser.add_argument("--entrypoint-resources", default="{}", metavar="JSON", help="of that job, such as '{\"driver\": 1}'")
    parser.add_argument(
        "--grid", default="", metavar="KEY=a,b,c", help="over values of a setting; what they do not change runs once"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate every step, print its plan and end")
    parser.add_argument("--strict", action="store_true", help="with --dry-run: fail on inputs that nothing makes")
    options = parser.parse_intermixed_args(arguments)
    from spire_ray.recipes import grid, plan, runner

    over = grid.expanded(options.recipe, options.overrides, options.grid) if options.grid else None
    recipe = over.recipe if over else runner.load(options.recipe, options.overrides)
    planned = runner.stages(recipe)
    if options.dry_run:
        print(f"{recipe.title} → {recipe.root}")
        for line in plan.lines(planned):
            print(f"  {line}")
        return command.USER_ERROR if options.strict and plan.absent(planned) else 0
    if options.address:
        from spire_ray.recipes import submitting

        base = runner.load(options.recipe, options.overrides)
        more = ["--grid", options.grid] if options.grid else []
        submitting.run(base, options.address, _resources(options.entrypoint_resources), more)
        return 0
    if over:
        over.keep()
    runner.run(recipe)
    return 0


def _resources(text: str) -> dict[str, float]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise ValueError(f'entrypoint-resources={text}: must be a JSON mapping of names to numbers, such as {{"driver": 1}}')
    return found
