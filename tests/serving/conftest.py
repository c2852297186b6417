"""A server in a thread of this process: the application that Ray Serve carries, without Ray."""

import io
import socket
import threading
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import soundfile

from spire_ray.settings import ServeSettings

NEW_TOKENS = 24


def speech(seconds, seed=0):
    """Syllables of a voice that nobody has: a buzz that comes and goes, float32 at 16 kHz."""
    draw = np.random.default_rng(seed)
    time_ = np.arange(int(16_000 * seconds)) / 16_000
    pitch = 110 + 60 * draw.random() + 8 * np.sin(2 * np.pi * 0.7 * time_)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    colors = draw.random(12)
    buzz = sum(colors[n - 1] / n * np.sin(n * phase) for n in range(1, 13))
    syllables = np.clip(np.sin(2 * np.pi * (2.5 + draw.random()) * time_), 0, None)
    return (0.2 * buzz * syllables + 0.002 * draw.standard_normal(len(time_))).astype(np.float32)


def audio(samples, container="WAV", rate=16_000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container)
    return file.getvalue()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(settings, backend, known=()):
    """A uvicorn server in a thread, as (its address, a function that ends it)."""
    import uvicorn

    from spire_ray.serving.api import application

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application(settings, backend, known), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def end():
        server.should_exit = True
        thread.join(10)

    return f"http://127.0.0.1:{port}", end


@pytest.fixture(scope="session")
def serve_settings(tiny_model, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("serve") / "out")
    return ServeSettings(
        model=tiny_model, output=output, port=free_port(), max_batch_size=8, max_upload_mb=2, max_new_tokens=NEW_TOKENS
    )


@pytest.fixture(scope="session")
def hearing(serve_settings):
    from spire_ray.serving.hearing import Hearing

    made = Hearing(serve_settings)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(serve_settings, hearing):
    url, end = run(serve_settings, hearing)
    yield url
    end()


@pytest.fixture(scope="session")
def http():
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def post(server, http):
    """Ask for a transcription: post(file, **fields)."""

    def asked(file=None, path="/v1/audio/transcriptions", **fields):
        data = {"model": "spire", **fields}
        return http.post(f"{server}{path}", files={"file": ("a.wav", audio(speech(1)) if file is None else file)}, data=data)

    return asked


@pytest.fixture
def taught(hearing, monkeypatch):
    """A function that lets the served model say that it was trained to do some things alone."""
    from dataclasses import replace

    def teach(*directions, form="it"):
        record = replace(hearing._model.record, directions=directions, form=form)
        monkeypatch.setattr(hearing._model, "record", record)
        monkeypatch.setattr(hearing._model.generator.tokenizer, "record", record)
        url, end = run(hearing_settings(hearing), hearing)
        ends.append(end)
        return SimpleNamespace(url=url)

    ends = []
    yield teach
    for end in ends:
        end()


def hearing_settings(hearing):
    return ServeSettings(model="", output="", max_new_tokens=NEW_TOKENS, max_upload_mb=2)
