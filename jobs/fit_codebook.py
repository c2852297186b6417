"""Run the stage fit_codebook: `python jobs/fit_codebook.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["fit_codebook", *sys.argv[1:]]))
