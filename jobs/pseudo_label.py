"""Run the stage pseudo_label: `python jobs/pseudo_label.py --config FILE [key=value …]`."""

import sys

from spire_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["pseudo_label", *sys.argv[1:]]))
