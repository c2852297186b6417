"""The service under load: `python benchmarks/serve.py --model MODEL [--output benchmarks/results/serve.json]`.

1. Alone: seconds of a request while no other is there. Capacity: requests per second of 16 connections, and of one.
2. Poisson arrivals at 80 % of that capacity: seconds of a request, and how many answers shared a step of the model.
3. One recording into ten languages, and into one. The model is served from a copy of its folder that names no directions.
4. The same application behind Ray Serve: what it adds to a lone request, and its requests per second at 16 connections.
5. With `--soak MINUTES`: 1.5 times the capacity for so long (behind Ray Serve, unless `--without-serve`): statuses, memory of the
   server's processes every 15 s, and the seconds of ten requests, one after the other, right afterwards.
Client and server are processes of their own on the same cores.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from spire_ray.audio import wav
from spire_ray.core import storage
from spire_ray.core.provenance import versions
from spire_ray.quickstart.espeak import Espeak

ROOT = Path(__file__).parents[1]
ROUTE = "/v1/audio/transcriptions"
SENTENCES = ("The dog sees a cat.", "Nine birds sing in the old garden.", "Where is the red house of my sister?", "Good morning.")
TEN = ("de", "fr", "nl", "it", "es", "pt", "ko", "ru", "zh", "en")
BARE = """
import sys, uvicorn
from spire_ray.core import config
from spire_ray.serving.api import application
from spire_ray.serving.hearing import Hearing
settings = config.load(sys.argv[1], [], "serve")
uvicorn.run(application(settings, Hearing(settings)), port=settings.port, log_level="error")
"""


def clips() -> list[bytes]:
    """Sentences of several voices."""
    speaker = Espeak()
    made = [wav.encode(speaker.speak(text, voice).samples) for text in SENTENCES for voice in ("en", "en+f3", "en-US+m3")]
    speaker.close()
    return made


@contextlib.contextmanager
def server(model: str, behind_serve: bool, **settings: Any) -> Iterator[tuple[str, int]]:
    """Address and process id of a server."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        file = Path(folder) / "serve.yaml"
        file.write_text(yaml.safe_dump({"stage": "serve", "model": model, "output": f"{folder}/out", "port": port, **settings}))
        probe.close()
        command = ["-m", "spire_ray", "serve", "--config", str(file), "keep=true"] if behind_serve else ["-c", BARE, str(file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 240
        try:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/ready", timeout=30).status_code == 200:
                        break
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the server did not start")
                time.sleep(0.5)
            yield url, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


@contextlib.contextmanager
def any_language(model: str) -> Iterator[str]:
    """A copy of a model folder that says of no language that it cannot be asked for."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(model, Path(folder) / "model")
        record = json.loads((copy / "spire.json").read_text())
        (copy / "spire.json").write_text(json.dumps({**record, "directions": []}))
        yield str(copy)


class Load:
    """A client with many connections."""

    def __init__(self, url: str, given: list[bytes]) -> None:
        self._url, self._clips = url, given
        self._client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=400))

    async def one(self, number: int, **fields: Any) -> tuple[int, float]:
        """Status and seconds of a request."""
        files, began = {"file": ("a.wav", self._clips[number % len(self._clips)])}, time.perf_counter()
        response = await self._client.post(self._url + ROUTE, files=files, data=fields)
        return response.status_code, time.perf_counter() - began

    async def closed(self, connections: int, requests: int) -> float:
        """Requests per second of connections that ask again at once."""
        numbers, began = iter(range(requests)), time.perf_counter()

        async def connection() -> None:
            for number in numbers:
                assert (await self.one(number))[0] == 200

        await asyncio.gather(*(connection() for _ in range(connections)))
        return requests / (time.perf_counter() - began)

    async def poisson(self, rate: float, requests: int) -> list[tuple[int, float]]:
        """Requests that arrive by themselves."""
        tasks = []
        for number, pause in enumerate(np.random.default_rng(0).exponential(1 / rate, requests)):
            tasks.append(asyncio.create_task(self.one(number)))
            await asyncio.sleep(float(pause))
        return await asyncio.gather(*tasks)

    async def batch(self) -> tuple[float, float]:
        """Tokens and steps of the engine up to now."""
        lines = (await self._client.get(f"{self._url}/metrics")).text.splitlines()
        found = {name: float(value) for name, _, value in (line.partition(" ") for line in lines if not line.startswith("#"))}
        return found["spire_engine_tokens"], found["spire_engine_steps"]


def percentile(seconds: list[float], part: float) -> float:
    """In milliseconds."""
    return round(1000 * float(np.percentile(seconds, part)), 1)


async def alone(load: Load, requests: int, **fields: Any) -> list[float]:
    """Seconds of requests, one after the other."""
    found = [await load.one(number, **fields) for number in range(requests)]
    assert {status for status, _ in found} == {200}
    return [seconds for _, seconds in found]


async def measured(url: str, given: list[bytes], requests: int) -> dict[str, Any]:
    """What 1 to 3 of the head say."""
    load = Load(url, given)
    await load.closed(4, 12)  # warm
    lone = await alone(load, max(12, requests // 8))
    one, capacity = await load.closed(1, max(12, requests // 8)), await load.closed(16, requests)
    before = await load.batch()
    arrived = await load.poisson(0.8 * capacity, requests)
    after = await load.batch()
    seconds = [took for status, took in arrived if status == 200]
    into = {name: await alone(load, 12, to_language=codes, mode="direct") for name, codes in (("one", TEN[:1]), ("ten", TEN))}
    return {
        "lone_ms": {"p50": percentile(lone, 50), "p95": percentile(lone, 95)},
        "requests_per_second": {"one_connection": round(one, 2), "16_connections": round(capacity, 2)},
        "continuous_over_one_at_a_time": round(capacity / one, 2),
        "poisson_at_80_percent": {
            "p50_ms": percentile(seconds, 50),
            "p95_ms": percentile(seconds, 95),
            "p95_over_lone": round(percentile(seconds, 95) / percentile(lone, 50), 2),
            "mean_batch": round((after[0] - before[0]) / (after[1] - before[1]), 2),
            "answered": len(seconds),
            "asked": len(arrived),
        },
        "ten_languages_over_one": round(float(np.median(into["ten"]) / np.median(into["one"])), 2),
    }


async def soaked(url: str, pid: int, given: list[bytes], capacity: float, minutes: float) -> dict[str, Any]:
    """What 5 of the head says."""
    load, family = Load(url, given), psutil.Process(pid)

    def memory() -> int:
        return sum(process.memory_info().rss for process in (family, *family.children(recursive=True))) >> 20

    statuses: Counter[int] = Counter()
    megabytes = [memory()]
    for _ in range(max(1, round(minutes * 4))):
        statuses.update(status for status, _ in await load.poisson(1.5 * capacity, round(1.5 * capacity * 15)))
        megabytes.append(memory())
    afterwards = [await load.one(number) for number in range(10)]
    return {
        "minutes": minutes,
        "asked_per_second": round(1.5 * capacity, 1),
        "statuses": dict(statuses),
        "megabytes": megabytes,
        "afterwards": [{"status": status, "ms": round(1000 * seconds, 1)} for status, seconds in afterwards],
    }


def compared(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """The application under uvicorn and behind Ray Serve."""
    given = clips()
    settings = {"max_new_tokens": options.max_new_tokens, "engine": options.engine, "tracking": {"enabled": False}}
    machine = {"cores": os.cpu_count(), "processor": platform.processor(), "load_before": round(os.getloadavg()[0], 1)}
    found: dict[str, Any] = {"machine": machine, "versions": versions()}
    for name, behind_serve in (("uvicorn", False), ("serve", True))[: 1 if options.without_serve else 2]:
        with server(model, behind_serve, **settings) as (url, pid):
            found[name] = asyncio.run(measured(url, given, options.requests))
            if options.soak and behind_serve != options.without_serve:
                capacity = found[name]["requests_per_second"]["16_connections"]
                found["soak"] = asyncio.run(soaked(url, pid, given, capacity, options.soak))
    if not options.without_serve:
        bare, behind = found["uvicorn"], found["serve"]
        found["serve_adds_ms"] = round(behind["lone_ms"]["p50"] - bare["lone_ms"]["p50"], 1)
        rates = [each["requests_per_second"]["16_connections"] for each in (behind, bare)]
        found["serve_over_uvicorn"] = round(rates[0] / rates[1], 3)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--without-serve", action="store_true")
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    with any_language(options.model) as model:
        found = compared(model, options)
    print(json.dumps({name: value for name, value in found.items() if name != "versions"}, indent=1))
    if options.output:
        storage.write_json(options.output, found)


if __name__ == "__main__":
    main()
