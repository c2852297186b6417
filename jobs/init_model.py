"""Run the stage init_model: `python jobs/init_model.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["init_model", *sys.argv[1:]]))
