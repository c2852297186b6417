"""`spire`: every stage and tool, imported when it is called."""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from spire_ray.core import redact
from spire_ray.core.registry import modules
from spire_ray.core.stage import STAGES

_TOOLS = "spire_ray.tools"
_HOME = re.compile(r"^(--[\w-]+=)?~(?=/|$)")
"""What a shell does not expand: `'~/a b'`, `--page=~/rows.html`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    sys.excepthook = redact.traced
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, rest = given[0].replace("-", "_"), given[1:]
    if name in modules(_TOOLS):
        return int(importlib.import_module(f"{_TOOLS}.{name}").main([_HOME.sub(_at_home, each) for each in rest]))
    try:
        known = name in STAGES
    except ValueError as error:  # a plugin that cannot be imported
        print(f"spire: error: {error}", file=sys.stderr)
        return 2
    if known:
        from spire_ray.runtime import job

        return job.main(name, rest)
    print(f"spire: error: {name!r} is neither a stage nor a tool; `spire --help` lists them", file=sys.stderr)
    return 2


def _at_home(found: "re.Match[str]") -> str:
    return f"{found[1] or ''}{Path.home()}"


def _help() -> str:
    lines = ["usage: spire NAME …   (`spire NAME --help` for its options)"]
    for title, found in (("stages", STAGES.summaries()), ("tools", modules(_TOOLS))):
        lines += ["", title, *(f"  {name:<16}{text}" for name, text in found.items())]
    return "\n".join(lines)
