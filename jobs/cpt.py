"""Run the stage cpt: `python jobs/cpt.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["cpt", *sys.argv[1:]]))
