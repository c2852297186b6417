"""Ray: the cluster, actor pools, worker groups, the frame of a job, MLflow."""

import os
import sys

# bars of libraries would fill a log; tqdm asks once, when it is imported
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_DISABLE", "1")
