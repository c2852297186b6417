"""COMET models in a Python environment of their own: unbabel-comet wants older packages than this platform has.

The other interpreter runs the text of `comet_worker.py`, which imports unbabel-comet and nothing of this package; rows and
scores travel as JSON. As text, so that this folder is not on its path.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
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
    field: str = "quality.model",
) -> list[float]:
    """Segment scores of rows with `src` and `mt`, and `ref` for models that take a reference.

    Raises ValueError, naming the setting `field` of the model, where interpreter, unbabel-comet or model is not to be had.
    """
    if not rows:
        return []
    _require(python, field.partition(".")[0])
    given = json.dumps({"model": model, "batch_size": batch_size, "gpus": gpus, "rows": [dict(row) for row in rows]})
    done = subprocess.run([python, "-c", _WORKER.read_text()], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-_LOG_LINES:])
        raise ValueError(f"{field}={model}: unbabel-comet failed: {last}")
    found = [float(score) for score in json.loads(done.stdout.splitlines()[-1])]
    if len(found) != len(rows):
        raise ValueError(f"{field}={model}: {len(found)} scores for {len(rows)} translations")
    return found


@cache
def version(python: str, group: str) -> str:
    """The version of unbabel-comet beside an interpreter. Raises ValueError, naming the group of settings, for none."""
    _require(python, group)
    asked = "from importlib.metadata import version; print(version('unbabel-comet'))"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{group}.python={python}: has no unbabel-comet; `make comet` makes an environment, .comet/bin/python")
    return done.stdout.strip()


def _require(python: str, group: str) -> None:
    if not Path(python).is_file():
        raise ValueError(f"{group}.python={python}: no such interpreter; `make comet` makes an environment, .comet/bin/python")
