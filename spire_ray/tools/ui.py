"""MLflow's pages, opened where the models of the last recipe stand side by side."""

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from spire_ray.core import command, mlflow_store

_STARTS = 180.0
"""Seconds in which MLflow's server answers."""


@command.cli_errors("ui")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire ui", description="Open MLflow at the comparison of the last recipe.")
    parser.add_argument("--port", type=int, default=5000, help="of the pages, on this machine alone (default 5000)")
    parser.add_argument("--no-browser", action="store_true", help="print the address alone")
    options = parser.parse_args(arguments)
    uri = mlflow_store.store()
    page = comparison(mlflow_store.client(uri))
    if uri.startswith("http"):
        _show(uri.rstrip("/") + page, options.no_browser)
        return 0
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            raise ValueError(f"--port {options.port}: something else listens there; give another")
    command = ["mlflow", "ui", "--backend-store-uri", uri, "--port", str(options.port), "--workers", "1"]
    server = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{options.port}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the server would go on without this process
    try:
        _wait(server, address)
        _show(address + page, options.no_browser)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    finally:
        server.terminate()
        server.wait()
    return 0


def comparison(client: Any) -> str:
    """The path of MLflow's page that compares the models of the newest recipe that has some; else that of its runs."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(
        experiments, f"tags.`{mlflow_store.COMPARED}` = 'true'", order_by=["attributes.start_time DESC"], max_results=200
    )
    newest = {run.info.run_name: run for run in reversed(runs) if _parent(run) == _parent(runs[0])}
    if len(newest) < 2:
        return "/#/experiments"
    chosen = [newest[name] for name in sorted(newest)]
    ids = json.dumps([run.info.run_id for run in chosen], separators=(",", ":"))
    where = json.dumps(sorted({run.info.experiment_id for run in chosen}), separators=(",", ":"))
    return f"/#/compare-runs?runs={quote(ids)}&experiments={quote(where)}"


def _parent(run: Any) -> str:
    return str(run.data.tags.get("mlflow.parentRunId", ""))


def _wait(server: "subprocess.Popen[bytes]", address: str) -> None:
    until = time.monotonic() + _STARTS
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.2)
    raise ValueError(f"{address}: MLflow's server does not answer; `mlflow ui --backend-store-uri …` says why")


def _show(address: str, quiet: bool) -> None:
    print(f"{address}\nuntil Ctrl-C", flush=True)
    if not quiet:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
