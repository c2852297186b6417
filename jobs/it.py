"""Run the stage it: `python jobs/it.py --config FILE [key=value …]`."""

import sys

from spire_ray.stages.train import main

if __name__ == "__main__":
    sys.exit(main("it"))
