"""Figures of a running job for Prometheus, at the metrics port of its node: what MLflow is told, while it is told.

`train/loss` is the gauge `ray_spire_train_loss` there, with the job's name as `run` and its output folder as `output`; counts by
reason, `label/rejected/no such file`, are one gauge with the reason as a label.
"""

import re
from collections.abc import Mapping
from typing import Any

_BY_REASON = "label/rejected/"
_gauges: dict[str, Any] = {}


def show(run: str, output: str, figures: Mapping[str, float], step: int) -> None:
    """Set the gauges of these figures, and that of the step."""
    from ray.util.metrics import Gauge

    for key, value in {**figures, "step": float(step)}.items():
        reason = key.removeprefix(_BY_REASON) if key.startswith(_BY_REASON) else ""
        name = "spire_rejected_rows" if reason else f"spire_{re.sub(r'[^a-zA-Z0-9]+', '_', key)}"
        tags = {"run": run, "output": output, **({"reason": reason} if reason else {})}
        if name not in _gauges:
            _gauges[name] = Gauge(name, f"{key} of a running job", tag_keys=tuple(tags))
        _gauges[name].set(float(value), tags)
