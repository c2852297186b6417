"""The jobs of a rendered recipe on Kubernetes, one after the other: `helm template` of one, `kubectl apply`, and a look at it."""

import subprocess
import time
from collections.abc import Sequence

import yaml

from spire_ray.core import storage

_TEMPLATE = "templates/rayjob.yaml"
_FAILED = ("Failed", "ValidationFailed")
"""How KubeRay says that a RayJob ended badly; of the second there is no job whose logs could be read."""
_STATUS = "jsonpath={.status.jobDeploymentStatus}"


def apply(values: Sequence[str], chart: str, release: str, seconds: float) -> None:
    """Run every job that has not ended well, in order. Raises ValueError for the first that fails, or for a tool that is missing.

    What is finished is kept: the same call goes on after a failure, with the failed job made anew.
    """
    jobs = yaml.safe_load(storage.read_bytes(values[-1])).get("jobs") or []
    if not jobs:
        raise ValueError(f"{values[-1]}: has no jobs; name the file that `spire cluster render` wrote last")
    given = [part for each in values for part in ("--values", each)]
    for job in (each["name"] for each in jobs):
        manifest = _called("helm", "template", release, chart, *given, "--set", f"only={job}", "--show-only", _TEMPLATE)
        name = next(d["metadata"]["name"] for d in yaml.safe_load_all(manifest) if d and d["kind"] == "RayJob")
        if _status(name) in _FAILED:
            _called("kubectl", "delete", "rayjob", name)
        _called("kubectl", "apply", "--filename", "-", given=manifest)
        shown = ""
        while (status := _status(name)) not in ("Complete", *_FAILED):
            if status != shown:
                print(f"{name}: {status or 'asked for'}", flush=True)
            shown = status
            time.sleep(seconds)
        print(f"{name}: {status}", flush=True)
        if status in _FAILED:
            tool = f"logs job/{name}" if status == "Failed" else f"describe rayjob {name}"
            raise ValueError(f"{name}: failed; `kubectl {tool}` says why; the same command goes on from it")


def _status(name: str) -> str:
    """Of a RayJob; empty where there is none yet."""
    return _called("kubectl", "get", "rayjob", name, "--ignore-not-found", "--output", _STATUS).strip()


def _called(*command: str, given: str = "") -> str:
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise ValueError(f"{command[0]}: not installed; it has to be in the PATH") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"{' '.join(command[:3])}: {error.stderr.strip() or error.returncode}") from None
    return done.stdout
