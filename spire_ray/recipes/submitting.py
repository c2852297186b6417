"""A recipe as one job of a running cluster: it travels as what it says, and its record, report and MLflow run are made there."""

import json
import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from spire_ray.core import config, storage
from spire_ray.recipes.launching import StepError
from spire_ray.settings import RecipeSettings

_LOG_LINES = 15
_ENVIRONMENT = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Ray takes these before the address that it is given."""
_NOT_YET, _PATIENCE = "No available agent", 120.0
"""What the dashboard says of a node whose agent is still starting, and seconds that it may take."""
_LONGEST = 120_000
"""Bytes of one argument of a command: Linux allows 131,072."""


def run(recipe: RecipeSettings, address: str, resources: Mapping[str, float], more: Sequence[str] = ()) -> None:
    """Submit a recipe to a dashboard, print its log, and end when it has ended.

    `resources` are those of its driver, such as `{"driver": 1}`, `more` further arguments of `spire run`. A job of the same
    recipe that is still at work is waited for first. Raises ValueError for a root that is of this machine alone, and StepError
    for a job that ends badly.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    if storage.is_local(recipe.root) and not os.path.isabs(recipe.root):
        raise ValueError(f"root={recipe.root}: of this machine alone; name a folder that the cluster sees, or s3://…")
    text = json.dumps(portable(recipe), ensure_ascii=False)
    if len(text.encode()) > _LONGEST:
        raise ValueError(f"{recipe.title}: {len(text.encode())} bytes of settings are too much for a command")
    with _asked_for_itself():
        client = JobSubmissionClient(address)

    def follow(job: str) -> JobStatus:
        shown = 0
        while not (status := client.get_job_status(job)).is_terminal():
            shown = _show(client.get_job_logs(job), shown)
            time.sleep(1.0)
        _show(client.get_job_logs(job), shown)
        return status

    mark = {"spire.recipe": recipe.title, "spire.root": recipe.root}
    for other in client.list_jobs():
        if other.submission_id and other.metadata == mark and not other.status.is_terminal():
            print(f"waiting for {other.submission_id}, which an earlier run of the recipe left at work", flush=True)
            follow(other.submission_id)  # what it has done is done already for the job that follows
    command = shlex.join(["python", "-m", "spire_ray", "run", text, *more])
    job = _submitted(client, entrypoint=command, metadata=mark, entrypoint_resources=dict(resources) or None)
    if (status := follow(job)) != JobStatus.SUCCEEDED:
        print("\n".join(deque(client.get_job_logs(job).splitlines(), _LOG_LINES)), file=sys.stderr)
        raise StepError(f"{recipe.title} ended as {status} (job {job} at {address}); the same command goes on")


def _submitted(client: Any, **given: Any) -> str:
    """Id of a new job. A head that has just started has nobody yet who starts jobs, and is asked again for a while."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return str(client.submit_job(**given))
        except RuntimeError as error:
            if _NOT_YET not in str(error) or time.monotonic() > until:
                raise ValueError(f"the cluster does not take the job: {str(error).splitlines()[0]}") from error
            time.sleep(1.0)


def portable(recipe: RecipeSettings) -> dict[str, Any]:
    """The recipe as it is once its files are read, for a machine that has none of them."""
    return config.to_dict(replace(recipe, steps=tuple(replace(step, config="") for step in recipe.steps)))


@contextmanager
def _asked_for_itself() -> Iterator[None]:
    """Without the addresses of the environment."""
    hidden = {name: os.environ.pop(name) for name in _ENVIRONMENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _show(log: str, shown: int) -> int:
    """Print what a job's log holds beyond `shown` characters."""
    print(log[shown:], end="", flush=True)
    return len(log)
