"""Run the stage distort: `python jobs/distort.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["distort", *sys.argv[1:]]))
