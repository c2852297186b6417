"""Run the stage pack: `python jobs/pack.py --config FILE [key=value …]`."""

import sys

from spire_ray.distributed.pack import main

if __name__ == "__main__":
    sys.exit(main())
