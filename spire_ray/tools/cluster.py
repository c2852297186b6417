"""Kubernetes: a recipe as values of the chart `cluster/chart`, and its jobs one after the other."""

import argparse
import sys
from collections.abc import Sequence

from spire_ray.core import command


@command.cli_errors("cluster")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire cluster", description="A recipe on Kubernetes, by the Helm chart cluster/chart.")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="write the values of a recipe: a job for each step, its report, its service")
    render.add_argument("recipe", help="YAML with `stage: run`")
    render.add_argument("overrides", nargs="*", metavar="step.key=value", help="settings of a step, or root=FOLDER")
    render.add_argument("--shape", action="append", default=[], metavar="MODEL=FILE", help="config.json of a model not there yet")
    apply = commands.add_parser("apply", help="run the jobs of such a file in their order, with helm and kubectl")
    apply.add_argument("values", nargs="+", metavar="VALUES", help="your own values first, those of `render` last")
    apply.add_argument("--chart", default="cluster/chart", metavar="FOLDER")
    apply.add_argument("--release", default="spire-ray", metavar="NAME")
    apply.add_argument("--seconds", type=float, default=30.0, help="between two looks at a job (default: 30)")
    options = parser.parse_args(arguments)
    if options.command == "apply":
        from spire_ray.recipes import kubernetes

        kubernetes.apply(options.values, options.chart, options.release, options.seconds)
        return 0
    from spire_ray.recipes import manifests, runner, shapes

    recipe = runner.load(options.recipe, options.overrides)
    given = shapes.given(options.shape, runner.stages(recipe))
    print(f"# {options.recipe}, by `spire cluster render`")
    print(manifests.written(manifests.values(recipe, given)), end="")
    for text in manifests.given(recipe):
        print(f"to be there before the first job: {text}", file=sys.stderr)
    return 0
