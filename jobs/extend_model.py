"""Run the stage extend_model: `python jobs/extend_model.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["extend_model", *sys.argv[1:]]))
