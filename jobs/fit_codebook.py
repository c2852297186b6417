"""Run the stage fit_codebook: `python jobs/fit_codebook.py --config FILE [key=value …]`."""

import sys

from spire_ray.stages.fit_codebook import main

if __name__ == "__main__":
    sys.exit(main())
