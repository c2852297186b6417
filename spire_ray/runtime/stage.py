"""The frame of every job: options, validation, dry run, resume, MLflow run, progress and one-line errors."""

import argparse
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from spire_ray.core import command, config, lock, storage
from spire_ray.core.progress import Progress
from spire_ray.core.provenance import Output
from spire_ray.settings import StageSettings

S = TypeVar("S", bound=StageSettings)
_RAY_DATA_ADVICE = re.compile(r"(: ['\"]|\n)Failed to apply UDF transform after .*", re.DOTALL)
"""What Ray Data appends to the text of an error; to that of an OSError as the name of a file."""


@dataclass
class Job(Generic[S]):
    """A stage at work."""

    settings: S
    output: Output
    tracker: Any
    progress: Progress
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record of the output says beside the configuration: rows, metrics."""


@dataclass(frozen=True)
class Plan:
    """What a dry run prints: lines about the work, and the inputs that must be there."""

    inputs: dict[str, str]
    """Field → path."""
    lines: Iterable[str] = ()
    """Read by a dry run alone, so that what takes long can be left to a generator."""


def main(
    name: str,
    run: Callable[[Job[S]], None],
    plan: Callable[[S], Plan],
    arguments: Sequence[str] | None = None,
    instead: Callable[[S], bool] | None = None,
    grown: Callable[[S], bool] = lambda settings: False,
) -> int:
    """Run one stage from the command line; returns the exit status.

    `instead` is asked before the output folder is touched; where it returns true it has done what the settings wanted.
    `grown` says whether a finished folder has more to do because its input has grown.
    """
    work = partial(_main, name, run, plan, instead, grown)
    return command.cli_errors(name, _words)(work)(arguments)


def _main(
    name: str,
    run: Callable[[Job[S]], None],
    plan: Callable[[S], Plan],
    instead: Callable[[S], bool] | None,
    grown: Callable[[S], bool],
    arguments: Sequence[str] | None,
) -> int:
    options = _parse(name, arguments)
    settings: Any = config.load(options.config, options.overrides, name)
    if settings.storage.endpoint_url:  # where s3fs, and every worker, looks for it
        os.environ["AWS_ENDPOINT_URL"] = settings.storage.endpoint_url
    if options.print_config:
        print(json.dumps(config.to_dict(settings), indent=2))
        return 0
    prepared = plan(settings)
    if options.dry_run:
        return _dry_run(settings, prepared, options.strict)
    _require(prepared)
    if instead is not None and instead(settings):
        return 0
    output = Output.open(settings)
    if output.complete and not grown(settings):
        print(f"{name}: done already, {settings.output}")
        return 0
    with lock.held(settings.output):
        storage.discard_uploads(settings.output)
        _work(name, settings, output, run)
    return 0


def _parse(name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(f"spire {name}", description=f"Run the stage {name}.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, dotted: training.steps=100")
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML that starts with `stage:`")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and end")
    parser.add_argument("--strict", action="store_true", help="with --dry-run: fail on absent inputs")
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and end")
    return parser.parse_intermixed_args(arguments)


def _dry_run(settings: StageSettings, plan: Plan, strict: bool) -> int:
    print(f"{settings.stage} → {settings.output}")
    where = {name: _where(name, path) for name, path in plan.inputs.items()}
    for name, path in plan.inputs.items():
        print(f"  {name}: {path} ({where[name]})")
    for line in plan.lines:
        print(f"  {line}")
    return command.USER_ERROR if strict and "absent" in where.values() else 0


def _require(plan: Plan) -> None:
    for name, path in plan.inputs.items():
        if _where(name, path) == "absent":
            raise ValueError(f"{name}={path}: not found")


def _where(name: str, path: str) -> str:
    """A model may be a hub id: whether it can be had shows when it is loaded."""
    if storage.exists(path):
        return "found"
    of_model = not {"model", "models", "encoder"}.isdisjoint(name.split("."))
    like_an_id = storage.is_local(path) and path.count("/") == 1 and not path.startswith((".", "/", "runs/"))
    return "a hub id" if of_model and like_an_id else "absent"


def _work(name: str, settings: S, output: Output, run: Callable[[Job[S]], None]) -> None:
    from spire_ray.runtime import cluster
    from spire_ray.runtime.tracker import NoTracker, Tracker
    from spire_ray.runtime.tracking import store

    began = time.monotonic()
    uri = store()
    cluster.connect(name)
    cluster.check_shared(settings, uri)
    output.begin(settings)
    tracking = settings.tracking
    tracker = Tracker(uri, tracking.experiment) if tracking.enabled else NoTracker()
    parameters = config.flatten(config.to_dict(settings))
    tags = {"spire.stage": name, "mlflow.source.name": f"jobs/{name}.py"}
    git = output.record["git"]
    tags |= {"mlflow.source.git.commit": git["commit"]} if git else {}
    tracker.start(storage.absolute(settings.output), tracking.run_name or name, tracking.parent, parameters, tags)
    tracker.log_artifact("config.json", json.dumps(config.to_dict(settings), indent=2).encode())
    job = Job(settings, output, tracker, Progress(tracking.run_name or name))
    try:
        run(job)
    except BaseException:
        job.progress.close()
        tracker.close("FAILED")
        raise
    job.progress.close()
    seconds = round(time.monotonic() - began, 1)
    tracker.log_metrics({"seconds": seconds, **{k: v for k, v in job.facts.items() if isinstance(v, (int, float))}})
    tracker.close("FINISHED")
    output.finish(seconds=seconds, mlflow_run_id=tracker.run_id(), facts=job.facts)
    short = {key: round(value, 4) if isinstance(value, float) else value for key, value in job.facts.items()}
    summary = ", ".join(f"{key} {value}" for key, value in short.items() if isinstance(value, (int, float, str)))
    print(f"{tracking.run_name or name}: done in {seconds} s: {summary} → {settings.output}")


def _words(error: BaseException) -> str:
    """What an error says to a user, however deep in Ray it was raised; the traceback on request."""
    if os.environ.get("SPIRE_TRACEBACK") == "1":
        traceback.print_exc()
    while type(error).__module__.startswith("ray."):  # Ray wraps what a worker raised
        cause = getattr(error, "cause", None) or error.__cause__
        if cause is None:
            break
        error = cause
    text = _RAY_DATA_ADVICE.sub("", str(error))
    if isinstance(error, FileNotFoundError) and error.errno is None:  # of pyarrow: the path alone
        text += ": not found"
    return text
