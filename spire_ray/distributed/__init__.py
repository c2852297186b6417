"""The stages as jobs: the only folder that imports Ray."""

import os
import sys

# bars of libraries would fill a log; tqdm asks once, when it is imported
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_DISABLE", "1")
