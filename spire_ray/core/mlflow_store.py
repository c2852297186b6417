"""Where MLflow is, and what its model registry knows. Importing mlflow takes seconds, so nobody pays for it who does not ask."""

import os
from pathlib import Path
from typing import Any

COMPARED = "spire.compared"
"""Tag of the runs that a recipe's report makes, one for each model or value, with the same names of metrics."""
REGISTRY = "models:/"
"""What a version of the model registry begins with."""


def store() -> str:
    """The tracking store: MLFLOW_TRACKING_URI, else sqlite in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def is_there() -> bool:
    """Whether there is a store, or one is named; it is not for a report to begin one."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path("mlflow.db").exists()


def client(uri: str) -> Any:
    """MLflow's client, which gives up after seconds: what is down is asked again later, not at once."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def registered(text: str) -> str:
    """The folder of a version in the model registry, `models:/NAME/VERSION` or `models:/NAME@ALIAS`; other texts as they are.

    Raises ValueError for a model or a version that the registry does not have, and a registry that does not answer.
    """
    if not text.startswith(REGISTRY):
        return text
    asked = client(store())
    from mlflow.exceptions import MlflowException

    name, alias, after = text.removeprefix(REGISTRY).partition("@")
    try:
        if alias:
            return str(asked.get_model_version_by_alias(name, after).source)
        return str(asked.get_model_version(*name.rpartition("/")[::2]).source)
    except MlflowException as error:
        raise ValueError(f"{text}: not to be had from the model registry of MLFLOW_TRACKING_URI: {error.message}") from None
