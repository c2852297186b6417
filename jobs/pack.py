"""Run the stage pack: `python jobs/pack.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["pack", *sys.argv[1:]]))
