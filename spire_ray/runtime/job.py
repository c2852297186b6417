"""The frame of every job: options, validation, dry run, resume, MLflow run, progress and one-line errors."""

import argparse
import json
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from spire_ray.core import access, command, config, documentation, lock, redact, references, storage
from spire_ray.core.fields import Field, fields
from spire_ray.core.progress import Progress
from spire_ray.core.provenance import Output, read_by
from spire_ray.core.stage import STAGES, S, Stage
from spire_ray.settings import StageSettings, StorageSettings
from spire_ray.settings.types import Reference

_RAY_DATA_ADVICE = re.compile(r"(: ['\"]|\n)Failed to apply UDF transform after .*", re.DOTALL)
"""What Ray Data appends to the text of an error; to that of an OSError as the name of a file."""

_WORKING_DIRECTORIES = f"{os.sep}working_dir_files{os.sep}"
"""Where Ray unpacks them."""


@dataclass
class Job(Generic[S]):
    """A stage at work."""

    settings: S
    output: Output
    tracker: Any
    progress: Progress
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record of the output says beside the configuration: rows, metrics."""
    content: str = ""
    """Of a folder that may grow: a hash of what lies in it, so that later stages know whether it is what they have read."""


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one stage from the command line; returns the exit status."""
    return command.cli_errors(name, _words)(partial(_main, name, STAGES[name]))(arguments)


def _main(name: str, stage: Stage[Any], arguments: Sequence[str] | None) -> int:
    options = _parse(name, arguments)
    settings: Any = config.load(options.config, options.overrides, name)
    _to_environment(settings.storage)
    if options.print_config:
        print(json.dumps(config.to_dict(settings), indent=2))
        return 0
    if options.dry_run:
        with storage.unasked():
            return _dry_run(settings, stage.plan(settings), options.strict)
    stage.plan(settings)
    _own_place(settings)
    _require(settings)
    if stage.instead(settings):
        return 0
    output = Output.open(settings, stage.adopts)
    if output.complete and not stage.grown(settings):
        print(f"{name}: done already, {settings.output}")
        return 0
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stopped)  # `ray job stop`: the run is ended, the lock given back
    with lock.held(settings.output):
        storage.discard_uploads(settings.output)
        _work(name, settings, output, stage.run)
    return 0


def _own_place(settings: StageSettings) -> None:
    """Raises ValueError for an output that Ray would throw away: in the copy of a `--working-dir` that it keeps in its cache."""
    relative = storage.is_local(settings.output) and not os.path.isabs(settings.output)
    if relative and _WORKING_DIRECTORIES in os.getcwd():
        raise ValueError(
            f"output={settings.output}: would lie in Ray's copy of --working-dir, which goes away; name a folder by its "
            "whole path, or s3://…"
        )


def _to_environment(given: StorageSettings) -> None:
    """Where s3fs, and every worker, looks for it."""
    access.check_endpoint("storage.endpoint_url", given.endpoint_url)
    access.check_endpoint("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT_URL", ""))
    if given.endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = given.endpoint_url
    os.environ.update(access.variables(given.schemes, given.roots, given.largest_gb))


def _stopped(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _parse(name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    described = f"settings, for FILE and as key=value:\n{documentation.text(STAGES[name].settings)}"
    parser = argparse.ArgumentParser(
        f"spire {name}",
        description=f"Run the stage {name}.",
        epilog=described.replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, dotted: training.steps=100")
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML that starts with `stage:`, or its text in braces")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and end")
    parser.add_argument("--strict", action="store_true", help="with --dry-run: fail on absent inputs")
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and end")
    return parser.parse_intermixed_args(arguments)


def inputs(settings: StageSettings) -> Iterator[tuple[Field, str]]:
    """What the settings refer to, and where it is."""
    for setting in fields(settings):
        if setting.reference and setting.value:
            yield setting, references.where(setting, settings.root)


def _of_every_node(settings: StageSettings) -> dict[str, str]:
    """Inputs that have to be where every node sees them: not those of the Hub, nor files that come with the program."""
    return {
        setting.key: setting.value
        for setting, where in inputs(settings)
        if where == references.FOUND
        and not (setting.reference == Reference("encoder") and not references.has_weights(setting.value))
        and not (setting.reference == Reference("file") and setting.operational)
    }


def _dry_run(settings: StageSettings, lines: Iterable[str], strict: bool) -> int:
    print(f"{settings.stage} → {settings.output}")
    found = list(inputs(settings))
    for setting, where in found:
        print(f"  {setting.key}: {setting.value} ({where})")
    for line in lines:
        print(f"  {line}")
    absent = any(where == references.ABSENT for _, where in found)
    return command.USER_ERROR if strict and absent else 0


def _require(settings: StageSettings) -> None:
    for setting, where in inputs(settings):
        if where == references.ABSENT:
            raise ValueError(f"{setting.key}={setting.value}: not found")


def _work(name: str, settings: S, output: Output, run: Callable[[Job[S]], None]) -> None:
    from spire_ray.core.mlflow_store import store
    from spire_ray.runtime import cluster
    from spire_ray.runtime.tracker import NoTracker, Tracker

    began = time.monotonic()
    uri = store()
    cluster.connect(name)
    cluster.check_shared(settings, uri, _of_every_node(settings))
    output.begin(settings)
    tracking = settings.tracking
    tracker = Tracker(uri, tracking.experiment, settings.output) if tracking.enabled else NoTracker()
    parameters = config.flatten(config.to_dict(settings))
    tags = {"spire.stage": name, "mlflow.source.name": f"spire {name}", "mlflow.source.type": "LOCAL"}
    git = output.record["git"]
    tags |= {"mlflow.source.git.commit": git["commit"]} if git else {}
    tracker.start(storage.absolute(settings.output), tracking.run_name or name, tracking.parent, parameters, tags)
    tracker.log_artifact("config.json", json.dumps(redact.value(config.to_dict(settings)), indent=2).encode())
    tracker.log_inputs(read_by(settings))
    job = Job(settings, output, tracker, Progress(tracking.run_name or name))
    try:
        run(job)
    except BaseException as error:
        job.progress.close()
        tracker.close("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise
    job.progress.close()
    seconds = round(time.monotonic() - began, 1)
    tracker.log_metrics({"seconds": seconds, **{k: v for k, v in job.facts.items() if isinstance(v, (int, float))}})
    tracker.close("FINISHED")
    output.finish(job.content, seconds=seconds, mlflow_run_id=tracker.run_id(1.0), facts=job.facts)
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
