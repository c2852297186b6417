"""The service under load while its parts are killed, its model is changed, and it grows and shrinks."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from spire_ray.core import config
from spire_ray.stages import serve
from tests.serving.conftest import NEW_TOKENS, audio, free_port, speech

pytestmark = pytest.mark.long
CLIENTS = 6
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(tiny_model, tmp_path_factory):
    from spire_ray.settings import ServeSettings

    output = str(tmp_path_factory.mktemp("serve") / "out")
    return ServeSettings(model=tiny_model, output=output, port=free_port(), max_new_tokens=NEW_TOKENS)


@pytest.fixture
def running(ray_session, settings):
    """A function that serves until the test ends."""
    contexts = []

    def start(**changed):
        context = serve.running(replace(settings, **changed))
        context.__enter__()
        contexts.append(context)
        return serve.url(settings)

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


class Load:
    """Clients that ask again and again; each request is repeated, as clients do, until it is answered."""

    def __init__(self, url, seconds=6.0, clients=CLIENTS):
        self._url, self._clip = url + "/v1/audio/transcriptions", audio(speech(seconds))
        self.attempts, self.texts, self.lost = Counter(), Counter(), 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.until(2 * len(self._threads))
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self):
        return sum(self.texts.values())

    @property
    def failures(self):
        return {outcome: number for outcome, number in self.attempts.items() if outcome != 200}

    def until(self, more, seconds=120):
        """Wait for so many more answers."""
        goal, until = self.answered + more, time.monotonic() + seconds
        while self.answered < goal:
            assert time.monotonic() < until, (self.attempts, self.answered, goal)
            time.sleep(0.05)

    def _client(self):
        with httpx.Client(timeout=60) as http:
            while not self._stop.is_set():
                for _ in range(120):
                    try:
                        response = http.post(self._url, files={"file": ("a.wav", self._clip)})
                        outcome = response.status_code
                    except httpx.TransportError:
                        outcome = "connection"
                    self.attempts[outcome] += 1
                    if outcome == 200:
                        self.texts[response.json()["text"]] += 1
                        break
                    time.sleep(0.5)
                else:
                    self.lost += 1


def actors(part):
    """Names of Serve's living actors."""
    import ray

    return [found for found in ray.util.list_named_actors(all_namespaces=True) if part in found["name"]]


def kill(part):
    import ray

    [victim, *_] = actors(part)
    ray.kill(ray.get_actor(victim["name"], victim["namespace"]))


def listener(port):
    """The process that listens at a port."""
    return next(psutil.Process(each.pid) for each in psutil.net_connections("tcp") if each.laddr.port == port and each.pid)


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_replica_an_ingress_and_a_proxy_are_killed_in_turn(running, settings):
    url = running(replicas=2, max_replicas=2)
    found = {}
    for name, part, parts in (("replica", "#Model#", 2), ("ingress", "#Ingress#", 1), ("proxy", "", 0)):
        with Load(url) as load:
            if part:
                kill(part)
            else:
                listener(settings.port).kill()
            load.until(20 * CLIENTS)
            until(lambda part=part, parts=parts: not part or len(actors(part)) == parts)
            load.until(2 * CLIENTS)
        assert load.lost == 0 and load.texts.most_common(1)[0][1] >= 0.9 * load.answered
        found[name] = (load.answered, load.failures)
    print(found)
    assert found["replica"][1] == {}  # the audio is still at hand
    # what is lost is what was on its way, once for each client
    assert sum(found["ingress"][1].values()) <= CLIENTS
    # another proxy answers 404 until it has been told where the ingress is
    assert set(found["proxy"][1]) <= {"connection", 404}


def test_a_new_model_without_a_failed_request(running, settings, tmp_path):
    import shutil

    from ray import serve as ray_serve

    from spire_ray.serving.app import application

    url = running(replicas=2, max_replicas=2)
    shutil.copytree(settings.model, tmp_path / "next")
    changed = replace(settings, model=str(tmp_path / "next"), name="next", replicas=2, max_replicas=2)
    with Load(url) as load:
        ray_serve.run(application(changed), name="spire", route_prefix="/")
        load.until(5 * CLIENTS)
    assert load.failures == {} and load.lost == 0 and load.answered > 7 * CLIENTS
    assert [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]] == ["next", "whisper-1"]


def test_replicas_come_with_audio_and_go_with_it(running, monkeypatch):
    from spire_ray.serving import scaling

    for name, seconds in (("_LOOK_BACK", 11.0), ("_UP", 1.0), ("_DOWN", 5.0)):
        monkeypatch.setattr(scaling, name, seconds)
    url = running(replicas=1, max_replicas=2, audio_per_replica=6.0)
    with Load(url, 2.0, clients=2) as load:  # 4 s of audio at most
        time.sleep(25)
        assert len(actors("#Model#")) == 1
    assert load.failures == {}
    with Load(url, 120.0, clients=3) as load:
        until(lambda: len(actors("#Model#")) == 2)
        load.until(CLIENTS)
    assert load.failures == {}
    with Load(url, 2.0, clients=1) as load:
        until(lambda: len(actors("#Model#")) == 1)
    assert load.failures == {}


def test_what_is_in_work_is_answered_before_the_server_ends(settings, tmp_path):
    demo = str(ROOT / "spire_ray" / "quickstart" / "demo" / "model")  # which takes long enough for 15 minutes of sound
    alone, file = replace(settings, model=demo, port=free_port(), keep=True), tmp_path / "serve.json"
    file.write_text(json.dumps(config.to_dict(alone)))
    process = subprocess.Popen(
        [sys.executable, "-m", "spire_ray", "serve", "--config", str(file)], cwd=ROOT, stdout=subprocess.PIPE
    )
    url, clip = serve.url(alone), audio(speech(900.0), "FLAC")

    def ask(file):
        return httpx.post(f"{url}/v1/audio/transcriptions", files={"file": ("a", file)}, timeout=120)

    def refused():
        late = httpx.post(f"{url}/v1/units", timeout=60)  # without a file, so that it is refused at once in any case
        return late.json()["error"]["code"] == "shutting_down" and late.status_code == 503

    assert any(b"until Ctrl-C" in line for line in process.stdout)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, clip) for _ in range(3)]
        until(lambda: "spire_requests_in_work 3.0" in httpx.get(f"{url}/metrics", timeout=60).text)
        process.send_signal(signal.SIGTERM)
        until(refused)
        answers = [answer.result() for answer in asked]
    assert [answer.status_code for answer in answers] == [200] * 3 and len({answer.json()["text"] for answer in answers}) == 1
    assert process.wait(60) == 0
