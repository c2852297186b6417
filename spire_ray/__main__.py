"""`python -m spire_ray` is `spire`."""

import sys

from spire_ray.cli import main

sys.exit(main())
