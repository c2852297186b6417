"""Every setting of the stages: type, default and meaning."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command, documentation
from spire_ray.core.stage import STAGES
from spire_ray.settings import StageSettings

_HEAD = """# Settings

What a configuration of each stage may say: YAML that starts with `stage: NAME`, and `key=value` on the command line. `○` marks
what decides nothing of what is made: with another value the same output folder is gone on with. This page is the output of
`spire settings --markdown`."""


@command.cli_errors("settings")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire settings", description="Every setting of the stages.")
    parser.add_argument("stage", nargs="*", help="only these stages")
    parser.add_argument("--markdown", action="store_true", help="as a page")
    options = parser.parse_args(arguments)
    stages = {name: STAGES[name].settings for name in options.stage or STAGES}
    if options.markdown:
        sections = {"every stage": StageSettings, **stages}
        print("\n\n".join([_HEAD, *(documentation.markdown(name, kind) for name, kind in sections.items())]))
    else:
        print("\n\n".join(f"{name}\n{documentation.text(kind)}" for name, kind in stages.items()))
    return 0
