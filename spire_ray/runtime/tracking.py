"""MLflow: one run for each stage, children of the recipe's run.

Importing mlflow takes seconds, so only the process that holds `Runs` pays for it.
"""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from spire_ray.core import mlflow_store, redact

Event = dict[str, Any]
"""One thing to be logged: `kind`, `key` and `experiment` of its run, `at` (milliseconds of Unix time), what belongs to it."""

FOLDER = "spire.folder"
"""Tag of a model: where it lies."""
_LONGEST_PARAMETER = 6000
_PARAMETERS_AT_ONCE = 100


def _quoted(key: str) -> str:
    """A key that can stand in a filter of MLflow, whose strings know no escape."""
    return key.replace("%", "%25").replace("'", "%27")


class Runs:
    """The runs of one experiment. A run is found again by its key, so that a stage that is run again continues it."""

    def __init__(self, uri: str, experiment: str) -> None:
        self._client, self._uri = mlflow_store.client(uri), uri
        found = self._client.get_experiment_by_name(experiment)
        self._ids: dict[str, str] = {}
        self._experiment: str = found.experiment_id if found else self._create(uri, experiment)

    def _create(self, uri: str, experiment: str) -> str:
        place = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" if uri.startswith("sqlite:///") else None
        return str(self._client.create_experiment(experiment, artifact_location=place.as_uri() if place else None))

    def answers(self) -> bool:
        """Whether the store is there. Raises what mlflow does where it is not."""
        return bool(self._client.get_experiment(self._experiment))

    def apply(self, event: Event) -> str:
        """Log an event; id of its run. Raises ValueError for a run that has not begun."""
        key, kind = event["key"], event["kind"]
        if kind == "start":
            given = redact.value(event["parameters"]), redact.value(event["tags"])
            self._ids[key] = self.start(key, event["name"], event["parent"], *given)
            return self._ids[key]
        run_id = self._ids.get(key) or self._find(key)
        if not run_id:
            raise ValueError(f"{key}: no run has begun")
        if kind == "metrics":
            self.log_metrics(run_id, event["metrics"], event["step"], event["at"])
        elif kind == "artifact":
            self.log_artifact(run_id, event["name"], event["content"])
        elif kind == "inputs":
            self.log_inputs(run_id, event["inputs"])
        elif kind == "model":
            self.log_model(run_id, event["name"], event["folder"], event["tags"], event["registered"])
        else:
            self.end(run_id, event["status"])
        return run_id

    def start(self, key: str, name: str, parent: str, parameters: dict[str, Any], tags: dict[str, str]) -> str:
        """Begin or continue the run with this key, a child of the run with the key `parent`, and return its id."""
        if run_id := self._find(key, " and attributes.status != 'FINISHED'"):
            self._client.update_run(run_id, "RUNNING")
            return run_id
        above = self._find(parent) if parent else ""
        tags = {**tags, "spire.key": _quoted(key), **({"mlflow.parentRunId": above} if above else {})}
        run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)
        from mlflow.entities import Param

        entries = [Param(k, str(v)[:_LONGEST_PARAMETER]) for k, v in parameters.items()]
        for start in range(0, len(entries), _PARAMETERS_AT_ONCE):
            self._client.log_batch(run_id, params=entries[start : start + _PARAMETERS_AT_ONCE])
        return run_id

    def _find(self, key: str, condition: str = "") -> str:
        """Id of the newest run with a key; empty if there is none."""
        found = self._client.search_runs([self._experiment], f"tags.`spire.key` = '{_quoted(key)}'{condition}", max_results=1)
        return str(found[0].info.run_id) if found else ""

    def log_metrics(self, run_id: str, metrics: dict[str, float], step: int, at: int) -> None:
        """Log finite values at a step, and at a time in milliseconds."""
        from mlflow.entities import Metric

        finite = [Metric(k, float(v), at, step) for k, v in metrics.items() if math.isfinite(v)]
        self._client.log_batch(run_id, metrics=finite)

    def log_artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Store a file with the run."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(name).name
            file.write_bytes(content)
            parent = str(Path(name).parent)
            self._client.log_artifact(run_id, str(file), None if parent == "." else parent)

    def log_inputs(self, run_id: str, inputs: list[dict[str, str]]) -> None:
        """What a run has read, as data sets: name, digest, source and context of each."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self._client.log_inputs(
            run_id,
            [
                DatasetInput(
                    Dataset(each["name"], each["digest"], "spire-ray", json.dumps({"uri": redact.line(each["source"])})),
                    [InputTag("mlflow.data.context", each["context"])],
                )
                for each in inputs
            ],
        )

    def log_model(self, run_id: str, name: str, folder: str, tags: dict[str, str], registered: str) -> None:
        """A model folder that a run has made; it stays where it is. `registered` is its name in the registry, empty for none."""
        import mlflow
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        found = self._client.create_logged_model(self._experiment, name=name, source_run_id=run_id, tags={**tags, FOLDER: folder})
        self._client.finalize_logged_model(found.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(found.model_id, 0)])
        if not registered:
            return
        mlflow.set_tracking_uri(self._uri)  # the registry looks the model up there
        with contextlib.suppress(MlflowException):  # of this name before
            self._client.create_registered_model(registered)
        self._client.create_model_version(registered, folder, run_id, tags, model_id=found.model_id)

    def end(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status)
