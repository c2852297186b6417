#!/usr/bin/env python
"""Run the stage cpt: `jobs/cpt.py [--config FILE] [key=value …]`; without a file it is SPIRE's own."""

import sys
from pathlib import Path

from spire_ray.cli import main

if __name__ == "__main__":
    given = sys.argv[1:]
    named = any(one.split("=")[0] == "--config" for one in given)
    config = [] if named else ["--config", str(Path(__file__).parent.parent / "configs" / "spire" / "cpt.yaml")]
    sys.exit(main(["cpt", *config, *given]))
