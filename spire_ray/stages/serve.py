"""Audio in, text out, over HTTP.

Starts the server, asks it about one held-out clip, and ends; with `keep=true` it stays up.
"""

import contextlib
import io
import logging
import os
import shlex
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

import requests

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest import splits
from spire_ray.manifest.schema import in_split
from spire_ray.runtime.job import Job
from spire_ray.serving.address import require_free_port, url
from spire_ray.settings import ServeSettings
from spire_ray.text.languages import language

_APPLICATION = "spire"
_ROUTE = "/v1/audio/transcriptions"
_PATIENCE = 600
"""Seconds that an answer may take."""
_PROXY_SECONDS = 300
_GRACE = 60
"""Seconds that requests may take after the server has been told to end."""
_PATIENCE_WITH_PROXIES = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""On a slow machine Serve's own 5 seconds end proxies that are still importing."""


def plan(settings: ServeSettings) -> Iterable[str]:
    """Where it listens, how many replicas, and what is checked. Raises ValueError for what cannot be served."""
    from spire_ray.serving import checks

    checks.check(settings)
    if settings.manifest:
        splits.require(settings.manifest, settings.split)
    replicas = f"{settings.replicas} to {settings.max_replicas} replicas with {settings.gpus_per_replica:g} GPUs each"
    asked = ["transcript", *([f"translation into {language(settings.to_language).name}"] if settings.to_language else [])]
    check = f"one clip of {settings.split}: {', '.join(asked)}" if settings.manifest else "no check: manifest is empty"
    return (f"{url(settings)}, {replicas}", "until Ctrl-C or SIGTERM" if settings.keep else check)


def run(job: Job[ServeSettings]) -> None:
    """Serve, ask about one clip, write `check.json`, and end."""
    settings = job.settings
    clip = _held_out(settings) if settings.manifest else None
    with running(settings):
        job.facts["rows"] = 0
        if clip is not None:
            storage.write_json(storage.join(settings.output, "check.json"), _check(settings, clip))
            job.facts["rows"] = 2 if settings.to_language else 1


def kept(settings: ServeSettings) -> bool:
    """With `keep=true`, serve until told to end. The output folder stays as it is, finished or not."""
    if settings.keep:
        serve_forever(settings)
    return settings.keep


def serve_forever(settings: ServeSettings) -> None:
    """Serve until Ctrl-C or SIGTERM, then end cleanly."""
    import ray

    from spire_ray.runtime import cluster

    require_free_port(settings)
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's 15, whatever else this machine does comes before an answer
    cluster.connect()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with running(settings):
            print(f"serve: {settings.name} at {url(settings)} until Ctrl-C\n  {curl(settings, 'clip.wav')}", flush=True)
            while True:  # signal.pause() waits for a second one where the first comes just before it
                time.sleep(1)
    except KeyboardInterrupt:
        print("serve: ended", flush=True)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def running(settings: ServeSettings) -> Iterator[None]:
    """The application on the connected cluster: it answers when the block begins and is shut down when it ends.

    Raises ValueError for a port that is in use, a cluster that is too small, when Serve runs another application on this
    cluster already, when a replica does not start, and when the server cannot be reached from here.
    """
    from ray import serve
    from ray.exceptions import RayError

    from spire_ray.serving import haproxy
    from spire_ray.serving.app import application

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    require_free_port(settings)
    _require_room(settings)
    if others := set(serve.status().applications):
        raise ValueError(f"this cluster serves {', '.join(sorted(others))} already; deploy with `serve deploy` instead")
    bound, listens = application(settings), {"host": settings.host, "port": settings.port}
    with haproxy.environment() as variables:
        controller = {"runtime_env": {"env_vars": {**_PATIENCE_WITH_PROXIES, **variables}}}
        try:
            try:
                with contextlib.suppress(TimeoutError):  # a proxy that takes long is awaited below
                    serve.start(http_options=listens, controller_options=controller)
                serve.run(bound, name=_APPLICATION, route_prefix="/")
            except (RuntimeError, RayError) as error:
                raise ValueError(f"the server did not start: {_reason(error)}") from None
            _await(settings)
            try:
                yield
            finally:
                _drain()
        finally:
            # Ray prints that the call to the controller failed, because the controller ends in it
            with contextlib.redirect_stdout(io.StringIO()):
                serve.shutdown()


def _drain() -> None:
    """Wait for the requests that are in work. A second Ctrl-C ends the wait."""
    from ray import serve
    from ray.exceptions import RayError

    with contextlib.suppress(RayError, TimeoutError):
        serve.get_app_handle(_APPLICATION).drain.remote(_GRACE).result(timeout_s=_GRACE + 5)


def _require_room(settings: ServeSettings) -> None:
    """Raise ValueError for a cluster that will never have what the application needs; a growing one is not asked."""
    import ray

    from spire_ray.serving.app import needed

    if os.environ.get("RAY_CLUSTER_NAME") or os.environ.get("KUBERNETES_SERVICE_HOST"):  # an autoscaler adds nodes
        return
    there = ray.cluster_resources()
    for name, number in needed(settings).items():
        if number > (has := there.get(name, 0.0)):
            raise ValueError(f"replicas={settings.replicas}: they need {number:g} {name}s, and this cluster has {has:g}")


def _reason(error: Exception) -> str:
    """The last line of the traceback of every replica that did not start, else what Serve says."""
    from ray import serve

    application = serve.status().applications.get(_APPLICATION)
    deployments = application.deployments.items() if application else ()
    failed = {name: deployment.message for name, deployment in deployments if deployment.status == "DEPLOY_FAILED"}
    return "; ".join(f"{name}: {text.strip().splitlines()[-1]}" for name, text in failed.items() if text.strip()) or str(error)


def _await(settings: ServeSettings) -> None:
    """Wait for the proxy, which may still be starting when the application is up."""
    for _ in range(_PROXY_SECONDS):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url(settings)}/health", timeout=_PATIENCE).ok:
                return
        time.sleep(1)
    raise ValueError(f"host={settings.host}: the server has started, but {url(settings)} does not answer on this machine")


def curl(settings: ServeSettings, clip: str, to_language: str = "") -> str:
    """The command that asks about a clip."""
    fields = [f"file=@{clip}", f"model={settings.name}", *([f"to_language={to_language}"] if to_language else [])]
    return shlex.join(["curl", url(settings) + _ROUTE, *(part for field in fields for part in ("-F", field))])


def _held_out(settings: ServeSettings) -> dict[str, Any]:
    """The first utterance of the split, by id, that has a reference for what is asked."""
    from spire_ray.manifest import reader

    target = language(settings.to_language).code if settings.to_language else ""
    for row in sorted(reader.read(settings.manifest).to_pylist(), key=lambda row: str(row["utt_id"])):
        translation = dict(row["translations"] or ()).get(target, "")
        if in_split(row["split"], settings.split) and row["text"] and (translation or not target):
            return {**row, "translation": translation}
    needed = f"text and a translation into {target}" if target else "text"
    raise ValueError(f"split={settings.split}: {settings.manifest} has no utterance of it with {needed}")


def _clip(settings: ServeSettings, row: dict[str, Any]) -> str:
    """A file with the audio of a row: its own, or a copy in the output folder."""
    from spire_ray.audio import wav
    from spire_ray.manifest import recording

    source = recording.source(row["audio"])
    if isinstance(source, str) and storage.is_local(source) and row["offset"] is None:
        relative = os.path.relpath(source)
        return source if relative.startswith("..") else relative
    path = storage.join(settings.output, "clip.wav")
    storage.write_bytes(path, wav.cut(source, *recording.part(row)))
    return path


def _check(settings: ServeSettings, row: dict[str, Any]) -> dict[str, str]:
    """Ask for the transcript and the translation of one clip, and print them beside their references."""
    clip = _clip(settings, row)
    check = {
        "clip": clip,
        "utt_id": row["utt_id"],
        "reference": row["text"],
        "reference_translation": row["translation"],
        "transcript": _ask(settings, clip),
        "translation": _ask(settings, clip, settings.to_language) if settings.to_language else "",
        "curl": curl(settings, clip, settings.to_language),
    }
    shown = [key for key in check if check[key] and key not in ("clip", "utt_id")]
    print(f"  {check['utt_id']}", *(f"  {key.replace('_', ' '):>21}: {check[key]}" for key in shown), sep="\n", flush=True)
    return check


def _ask(settings: ServeSettings, clip: str, to_language: str = "") -> str:
    """What the server says about a clip. Raises ValueError with its reason if it refuses."""
    fields = {"model": settings.name, "to_language": to_language}
    files = {"file": (clip.rsplit("/", 1)[-1], storage.read_bytes(clip))}
    response = requests.post(url(settings) + _ROUTE, data=fields, files=files, timeout=_PATIENCE)
    answer = response.json()
    if response.status_code != 200:
        raise ValueError(f"{url(settings)}: {response.status_code}: {answer['error']['message']}")
    return str(answer["text"])


STAGES.register("serve", Stage(ServeSettings, plan, run, uses="Ray Serve", instead=kept))
