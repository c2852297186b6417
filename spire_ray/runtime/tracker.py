"""MLflow from any process of the cluster: one actor holds the client, everybody else sends it messages.

The actor lives as long as the cluster, so a recipe imports mlflow once and an sqlite store has one writer. Calls return
at once; `close` waits for them and raises what went wrong.
"""

from typing import Any

import ray

from spire_ray.runtime.tracking import Runs

_NAMESPACE = "spire"


class Tracker:
    """The MLflow run of one stage. Picklable: training workers log to the run of their driver."""

    def __init__(self, uri: str, experiment: str) -> None:
        actor = ray.remote(num_cpus=0)(Runs)
        self._actor = actor.options(
            name=f"mlflow {uri} {experiment}", namespace=_NAMESPACE, lifetime="detached", get_if_exists=True
        ).remote(uri, experiment)
        self._run: Any = None
        self._pending: list[Any] = []

    def start(self, key: str, name: str, parent: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Begin or continue the run."""
        self._run = self._actor.start.remote(key, name, parent, parameters, tags)

    def run_id(self) -> str:
        """Id of the run; waits until MLflow has answered."""
        return str(ray.get(self._run))

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log values at a step."""
        self._pending.append(self._actor.log_metrics.remote(self._run, metrics, step))

    def log_artifact(self, name: str, content: bytes) -> None:
        """Store a file with the run."""
        self._pending.append(self._actor.log_artifact.remote(self._run, name, content))

    def close(self, status: str) -> None:
        """End the run as FINISHED or FAILED and raise the first error of the calls before."""
        self._pending.append(self._actor.end.remote(self._run, status))
        pending, self._pending = self._pending, []
        ray.get(pending)


class NoTracker(Tracker):
    """`tracking.enabled=false`."""

    def __init__(self) -> None:
        pass

    def start(self, key: str, name: str, parent: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Nothing to begin."""

    def run_id(self) -> str:
        """No run."""
        return ""

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Dropped."""

    def log_artifact(self, name: str, content: bytes) -> None:
        """Dropped."""

    def close(self, status: str) -> None:
        """Nothing to end."""
