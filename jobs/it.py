"""Run the stage it: `python jobs/it.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["it", *sys.argv[1:]]))
