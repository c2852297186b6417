"""Run the stage fetch: `python jobs/fetch.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["fetch", *sys.argv[1:]]))
