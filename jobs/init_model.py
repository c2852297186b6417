"""Run the stage init_model: `python jobs/init_model.py --config FILE [key=value …]`."""

import sys

from spire_ray.stages.init_model import main

if __name__ == "__main__":
    sys.exit(main())
