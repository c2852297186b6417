"""What Prometheus hears of a running job: every query of the dashboard has an answer, and every alert fires in a drill."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "cluster" / "chart" / "files"
BOARD = json.loads((FILES / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
RULES = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
NEEDS_A_GPU = {"ray_node_gpus_utilization"}
needs_prometheus = pytest.mark.skipif(not shutil.which("prometheus"), reason="apt-get install prometheus")

DRILL = """
import os, time, ray
from spire_ray.runtime.tracker import NoTracker
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(max_restarts=-1, num_cpus=0)
class Dies:
    def now(self):
        os._exit(1)

training, deaths, began = NoTracker(), Dies.remote(), time.time()
training.start("runs/cpt", "cpt.train", "", {}, {})
step = {"loss": 1.5, "grad_norm": 0.5, "tokens_per_second": 24000.0, "mfu": 0.4, "save_share": 0.01, "step_seconds": 0.1}
while time.time() - began < 150:
    training.log_metrics({f"train/{key}": value for key, value in step.items()}, 100)  # always the same step: it stalls
    deaths.now.remote()
    time.sleep(0.5)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@needs_prometheus
def test_promtool_finds_nothing_wrong_in_rules_and_queries(tmp_path):
    subprocess.run(["promtool", "check", "rules", str(FILES / "alerts.yaml")], check=True, capture_output=True)
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(QUERIES)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", str(tmp_path / "queries.yaml")], check=True, capture_output=True)
    assert len(RULES) == 4 and len(QUERIES) > 15


def service_page():
    """A server of what the service says of itself after a request."""
    from spire_ray.serving.metrics import Metrics

    metrics = Metrics()
    metrics.in_work.set(3)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            metrics.requests.labels("/v1/audio/transcriptions", "200").inc()
            metrics.latency.labels("/v1/audio/transcriptions").observe(0.3)
            metrics.heard(2.0)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics.text())

        def log_message(self, *given):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def clips(folder, codebook):
    """A corpus of noise in which every fourth file is no audio."""
    noise, lines = np.random.default_rng(0), []
    for number in range(200):
        path = folder / f"{number}.flac"
        soundfile.write(path, noise.standard_normal(16_000) / 8, 16_000)
        lines.append({"utt_id": f"u{number}", "audio_filepath": path.name, "duration": 1.0, "split": "train"})
        if number % 4 == 0:
            path.write_text("this is not audio")
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    codebook.save(str(folder / "codebook"))


@pytest.fixture
def prometheus(tmp_path):
    """(query, environment of drivers) of a Prometheus that hears a Ray head, and the page of a service."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short, because Unix socket paths are
    port, metrics, web, page = free_port(), free_port(), free_port(), service_page()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "300", "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    ray = [f"{Path(sys.executable).parent}/ray", "start", "--head", "--block", "--port", str(port), "--num-cpus", "4"]
    ray += ["--metrics-export-port", str(metrics), "--temp-dir", folder, "--disable-usage-stats", "--include-dashboard", "true"]
    ray += ["--dashboard-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())]
    rules = re.sub(r"for: \d+m", "for: 1s", (FILES / "alerts.yaml").read_text())
    rules = rules.replace("30m", "15s").replace("15m", "30s").replace("< 0.1", "< 1.1")  # of any disk: this one is not full
    (tmp_path / "alerts.yaml").write_text(rules)
    targets = [f"127.0.0.1:{metrics}", f"127.0.0.1:{page.server_port}"]
    scrape = {"job_name": "all", "static_configs": [{"targets": targets}]}
    settings = {"global": {"scrape_interval": "2s", "evaluation_interval": "2s"}, "scrape_configs": [scrape]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings | {"rule_files": ["alerts.yaml"]}))
    listen = [f"--web.listen-address=127.0.0.1:{web}", f"--storage.tsdb.path={tmp_path}/data"]
    server = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", *listen]
    log = (Path(folder) / "log").open("w")
    running = [subprocess.Popen(each, env=environment, cwd=ROOT, stdout=log, stderr=log) for each in (ray, server)]

    def query(text):
        address = f"http://127.0.0.1:{web}/api/v1/query?" + urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)["data"]["result"]

    deadline = time.monotonic() + 300
    while "Ray runtime started" not in (told := (Path(folder) / "log").read_text()):
        assert running[0].poll() is None and time.monotonic() < deadline, told
        time.sleep(1)
    yield query, environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    page.shutdown()
    for each in running:
        each.send_signal(signal.SIGTERM)
        each.wait(60)


@pytest.mark.long
@needs_prometheus
def test_every_query_has_an_answer_while_jobs_run_and_every_alert_fires(prometheus, tiny_codebook, tmp_path):
    query, environment = prometheus
    clips(tmp_path, tiny_codebook)
    given = {"stage": "label", "output": f"{tmp_path}/units", "manifest": f"{tmp_path}/manifest.jsonl", "workers": 1}
    given |= {"codebook": f"{tmp_path}/codebook", "shard_seconds": 1.0, "tracking": {"enabled": False}}
    label = [sys.executable, "-m", "spire_ray", "label", "--config", json.dumps(given)]
    quiet = {"cwd": tmp_path, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    jobs = [subprocess.Popen(label, **quiet), subprocess.Popen([sys.executable, "-c", DRILL], **quiet)]
    unanswered, silent = set(QUERIES) - NEEDS_A_GPU, {rule["alert"] for rule in RULES}
    deadline = time.monotonic() + 240
    try:
        while (unanswered or silent) and time.monotonic() < deadline:
            unanswered = {each for each in unanswered if not query(each)}
            fired = {each["metric"]["alertname"] for each in query('ALERTS{alertstate="firing"}')}
            silent -= fired
            time.sleep(1)
    finally:
        for each in jobs:
            each.kill()
    assert not unanswered and not silent
