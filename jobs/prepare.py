"""Run the stage prepare: `python jobs/prepare.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
