"""What a recipe costs: rows, hours, tokens, GPU-hours, time, disk and money of every step, before it runs."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command


@command.cli_errors("plan")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire plan", description="What a recipe costs, before it is run.")
    parser.add_argument("recipe", help="YAML with `stage: run`")
    parser.add_argument("overrides", nargs="*", metavar="step.key=value", help="settings of a step, or root=FOLDER")
    parser.add_argument("--hardware", default="", metavar="NAME", help="of configs/hardware, or a file; default: by the GPUs")
    parser.add_argument(
        "--prices", default="", metavar="FILE", help="YAML with currency, gpu_hour, core_hour, gb_month, gb_network"
    )
    parser.add_argument("--explain", default="", metavar="STEP", help="every figure of a step with its source")
    parser.add_argument("--measure", action="store_true", help="measure this machine first, half a minute; kept for later plans")
    parser.add_argument("--compare", action="store_true", help="beside what finished steps have taken")
    parser.add_argument("--shape", action="append", default=[], metavar="MODEL=FILE", help="config.json of a model not there yet")
    options = parser.parse_intermixed_args(arguments)
    from spire_ray.recipes import runner, shapes
    from spire_ray.recipes.costs import hardware, measure, prices, table, work

    recipe = runner.load(options.recipe, options.overrides)
    planned = runner.stages(recipe)
    given = shapes.given(options.shape, planned)
    if options.explain and options.explain not in planned:
        raise ValueError(f"explain={options.explain}: the recipe has the steps {', '.join(planned)}")
    if options.measure:
        print("measured: " + ", ".join(f"{name} {value:,.4g}" for name, value in measure.measure().items()))
    machine = hardware.of(options.hardware, planned)
    costs = work.of(planned, machine, given)
    if options.explain:
        told = work.explained(options.explain, costs[options.explain])
    elif options.compare:
        told = table.compared(planned, costs, machine, recipe.root)
    else:
        told = table.lines(planned, costs, machine, prices.load(options.prices) if options.prices else None)
    for line in told:
        print(line)
    return 0
