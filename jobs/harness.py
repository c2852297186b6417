"""Run the stage harness: `python jobs/harness.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["harness", *sys.argv[1:]]))
