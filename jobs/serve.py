"""Run the stage serve: `python jobs/serve.py --config FILE [key=value …]`; `keep=true` stays up."""

import sys

from spire_ray.stages.serve import main

if __name__ == "__main__":
    sys.exit(main())
