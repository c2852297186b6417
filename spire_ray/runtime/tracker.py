"""MLflow beside the work, never in its way: calls return at once, and what MLflow does not take is kept and sent later.

One actor holds the client, on the node of the driver and for as long as that lives, so that an sqlite store has one writer and
a recipe imports mlflow once. What it cannot deliver it keeps beside the output, sends when MLflow answers again, and else leaves
to `spire track replay`.
"""

import os
import time
from typing import Any

from spire_ray.core.mlflow_store import COMPARED
from spire_ray.runtime import metrics, nodes, spool
from spire_ray.runtime.mailbox import Mailbox
from spire_ray.runtime.tracking import Event

SHARED = "SPIRE_TRACKER"
"""Name of the actor of a recipe, for its steps."""
_NAMESPACE = "spire"
_PATIENCE = {"FINISHED": 60.0, "FAILED": 20.0, "KILLED": 2.0}
"""Seconds that the end of a job may wait; a stopped one has 3 before it is killed. An MLflow that is down is known before."""
_PENDING = 100


class Tracker:
    """The MLflow run of one stage. Picklable: training workers log to the run of their driver."""

    def __init__(self, uri: str, experiment: str, output: str) -> None:
        self._uri, self._experiment, self._output = uri, experiment, output
        self._actor = _mailbox(uri)
        self._key = self._name = ""
        self._run: Any = None
        self._pending: dict[Any, Event] = {}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_pending": {}}

    def start(self, key: str, name: str, parent: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Begin or continue the run."""
        self._key, self._name = key, name
        self._run = self._send(kind="start", name=name, parent=parent, parameters=parameters, tags=tags)

    def run_id(self, patience: float = 10.0) -> str:
        """Id of the run; empty where MLflow has not answered in so many seconds."""
        import ray

        try:
            return str(ray.get(self._run, timeout=patience))
        except (ray.exceptions.RayError, TimeoutError):
            return ""

    def log_metrics(self, figures: dict[str, float], step: int = 0) -> None:
        """Log values at a step; Prometheus gets those of work that goes on, which have a `/` in their names."""
        self._send(kind="metrics", metrics=figures, step=step)
        self._show(figures, step)

    def _show(self, figures: dict[str, float], step: int) -> None:
        if live := {key: value for key, value in figures.items() if "/" in key}:
            metrics.show(self._name, self._key, live, step)

    def log_artifact(self, name: str, content: bytes) -> None:
        """Store a file with the run."""
        self._send(kind="artifact", name=name, content=content)

    def log_inputs(self, inputs: list[dict[str, str]]) -> None:
        """Say what the run reads; see `provenance.read_by`."""
        if inputs:
            self._send(kind="inputs", inputs=inputs)

    def log_model(self, name: str, folder: str, tags: dict[str, str], registered: str = "") -> None:
        """Say which model folder the run has made, and register it under a name where one is given."""
        self._send(kind="model", name=name, folder=folder, tags=tags, registered=registered)

    def compare(self, name: str, figures: dict[str, float], parameters: dict[str, Any]) -> None:
        """A finished run below this one, to stand beside others that have the same names of metrics."""
        own = {"key": f"{self._key}/{name}"}
        self._send(**own, kind="start", name=name, parent=self._key, parameters=parameters, tags={COMPARED: "true"})
        self._send(**own, kind="metrics", metrics=figures, step=0)
        self._send(**own, kind="end", status="FINISHED")

    def close(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; one line says what MLflow has not taken."""
        self._send(kind="end", status=status)
        if why := self.flush(_PATIENCE[status]):
            print(
                f"  warning: MLflow has not taken everything ({why}); the rest lies in {self._output}: "
                f"spire track replay {self._output}",
                flush=True,
            )

    def flush(self, patience: float = 20.0) -> str:
        """Wait until all is delivered or kept beside the output; why not all is delivered."""
        import ray

        until, why = time.monotonic() + patience, ""
        # a client that was started again takes what is tried again in any order: it is asked to settle when it has everything
        if self._pending:
            _, unanswered = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=patience)
            why = "" if unanswered else "its client has died"  # of what is left then
            self._forget()
        if not self._pending:
            try:
                return str(ray.get(self._actor.settle.remote(self._output), timeout=max(0.0, until - time.monotonic())))
            except ray.exceptions.GetTimeoutError:
                why = ""
            except ray.exceptions.RayError:
                why = "its client has died"
        spool.append(self._output, list(self._pending.values()))
        self._pending = {}
        return why or f"no answer in {patience:g} s"

    def _send(self, **said: Any) -> Any:
        event = {"key": self._key, "experiment": self._experiment, "at": int(time.time() * 1000), **said}
        sent = self._actor.deliver.remote(self._output, event)
        self._pending[sent] = event
        if len(self._pending) > _PENDING:
            self._forget()
        return sent

    def _forget(self) -> None:
        """What the actor has is its own."""
        import ray

        ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        for sent in ready:
            try:
                ray.get(sent)
            except ray.exceptions.RayError:
                continue
            del self._pending[sent]


def _mailbox(uri: str) -> Any:
    """The actor of the recipe that this is a step of, else one of its own."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = os.environ.get(SHARED, "")
    try:
        if name:
            return ray.get_actor(name, _NAMESPACE)
    except ValueError:
        name = ""
    return _started(uri, {}, NodeAffinitySchedulingStrategy)


def share(uri: str) -> str:
    """Start an actor that other drivers of this cluster find by the name that is returned; it ends with this one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"tracker of {ray.get_runtime_context().get_job_id()}"
    _SHARED.append(_started(uri, {"name": name, "namespace": _NAMESPACE}, NodeAffinitySchedulingStrategy))
    return name


_SHARED: list[Any] = []
"""An actor without a handle ends."""


def _started(uri: str, named: dict[str, str], affinity: Any) -> Any:
    import ray

    here = affinity(node_id=nodes.here(), soft=False)
    return ray.remote(Mailbox).options(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here, **named
    ).remote(uri)  # fmt: skip


class NoTracker(Tracker):
    """`tracking.enabled=false`."""

    def __init__(self) -> None:
        self._key = self._name = ""

    def start(self, key: str, name: str, parent: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Nothing to begin but the name of the gauges."""
        self._key, self._name = key, name

    def run_id(self, patience: float = 0.0) -> str:
        """No run."""
        return ""

    def log_metrics(self, figures: dict[str, float], step: int = 0) -> None:
        """For Prometheus alone."""
        self._show(figures, step)

    def log_artifact(self, name: str, content: bytes) -> None:
        """Dropped."""

    def log_inputs(self, inputs: list[dict[str, str]]) -> None:
        """Dropped."""

    def log_model(self, name: str, folder: str, tags: dict[str, str], registered: str = "") -> None:
        """Dropped."""

    def compare(self, name: str, figures: dict[str, float], parameters: dict[str, Any]) -> None:
        """Dropped."""

    def close(self, status: str) -> None:
        """Nothing to end."""

    def flush(self, patience: float = 0.0) -> str:
        """Nothing is kept."""
        return ""
