"""COMET models in a Python environment of their own: unbabel-comet wants older packages than this platform has.

The other interpreter runs the text of `comet_worker.py`, which imports unbabel-comet and nothing of this package; rows and
scores travel as JSON. As text, so that this folder is not on its path.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_WORKER = Path(__file__).with_name("comet_worker.py")
_LOG_LINES = 3


def scores(
    rows: Sequence[Mapping[str, str]],
    model: str,
    python: str,
    *,
    batch_size: int = 64,
    gpus: int = 0,
    field: str = "quality",
) -> list[float]:
    """Segment scores of rows with `src` and `mt`, and `ref` for models that take a reference.

    Raises ValueError, naming the group of settings `field`, where the interpreter, unbabel-comet or the model is not to be had.
    """
    if not rows:
        return []
    if not Path(python).exists():
        raise ValueError(
            f"{field}.python={python}: no such interpreter; make an environment with unbabel-comet and name its python"
        )
    given = json.dumps({"model": model, "batch_size": batch_size, "gpus": gpus, "rows": [dict(row) for row in rows]})
    done = subprocess.run([python, "-c", _WORKER.read_text()], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-_LOG_LINES:])
        raise ValueError(f"{field}.model={model}: unbabel-comet failed: {last}")
    found = [float(score) for score in json.loads(done.stdout.splitlines()[-1])]
    if len(found) != len(rows):
        raise ValueError(f"{field}.model={model}: {len(found)} scores for {len(rows)} translations")
    return found
