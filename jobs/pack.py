"""Run the stage pack: `python jobs/pack.py --config FILE [key=value …]`."""

import sys

from spire_ray.stages.pack import main

if __name__ == "__main__":
    sys.exit(main())
