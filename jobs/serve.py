"""Run the stage serve: `python jobs/serve.py --config FILE [key=value …]`, from the checkout; `keep=true` stays up."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # in place of jobs/, where this file would stand for the package serve/, here and in Ray's workers
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from spire_ray.stages.serve import main

    sys.exit(main())
