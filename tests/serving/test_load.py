"""Who may ask, and what happens when too many do, or too slowly, or go away."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import psutil
import pytest

from tests.serving.conftest import audio, run, speech

TRANSCRIPTIONS = "/v1/audio/transcriptions"


def test_keys(serve_settings, hearing, http, monkeypatch, tmp_path):
    from spire_ray.serving import keys

    monkeypatch.setenv(keys.VARIABLE, "one, two")
    (tmp_path / "keys").write_text("# ours\nthree\n")
    url, end = run(serve_settings, hearing, keys.hashes(replace(serve_settings, api_keys=str(tmp_path / "keys"))))
    for key, status in (("one", 200), ("two", 200), ("three", 200), ("four", 401), ("", 401), ("# ours", 401)):
        assert http.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}".strip()}).status_code == status
    assert http.get(f"{url}/v1/models").json()["error"]["code"] == "invalid_api_key"
    assert http.post(f"{url}/audio/transcriptions", content=b"").status_code == 401
    assert http.get(f"{url}/health").status_code == 200
    end()


def test_without_keys_it_is_open_on_this_machine_alone(serve_settings, monkeypatch, tmp_path):
    from spire_ray.serving import keys

    monkeypatch.delenv(keys.VARIABLE, raising=False)
    assert keys.hashes(serve_settings) == keys.hashes(replace(serve_settings, host="::1")) == ()
    with pytest.raises(ValueError, match=r"host=0.0.0.0: others can reach it without a key; set api_keys"):
        keys.hashes(replace(serve_settings, host="0.0.0.0"))
    assert keys.hashes(replace(serve_settings, host="0.0.0.0", open=True)) == ()
    with pytest.raises(ValueError, match="No such file"):
        keys.hashes(replace(serve_settings, api_keys=str(tmp_path / "absent")))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="holds no key"):
        keys.hashes(replace(serve_settings, api_keys=str(tmp_path / "empty")))


def test_an_overload_is_answered_with_503(serve_settings, hearing, http):
    url, end = run(replace(serve_settings, max_requests=2), hearing)
    clip = audio(speech(10))
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(httpx.post, f"{url}{TRANSCRIPTIONS}", files={"file": ("a", clip)}, timeout=60) for _ in range(16)]
        answers = [future.result() for future in asked]
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "overloaded" and refused.headers["Retry-After"]
    end()


def test_a_burst_finds_one_set_of_decoders(serve_settings, hearing):
    """Each of the first requests that came together once had decoders of its own, which nobody ended."""

    class Asked:
        times = 0

        def __getattr__(self, name):
            return getattr(hearing, name)

        async def describe(self):
            self.times += 1
            await asyncio.sleep(0.2)
            return await hearing.describe()

    backend, clip, before = Asked(), audio(speech(1)), len(psutil.Process().children())
    url, end = run(serve_settings, backend)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(httpx.post, f"{url}{TRANSCRIPTIONS}", files={"file": ("a", clip)}, timeout=60) for _ in range(16)]
        assert {future.result().status_code for future in asked} == {200}
    assert backend.times == 1 and len(psutil.Process().children()) - before <= 8
    end()


def test_a_deadline(serve_settings, hearing, http):
    url, end = run(replace(serve_settings, deadline_seconds=0.05), hearing)
    late = http.post(f"{url}{TRANSCRIPTIONS}", files={"file": ("a", audio(speech(60)))})
    assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline") and late.headers["Retry-After"]
    end()
    assert hearing._model.generator.engine.stats.running == 0


def test_a_client_that_goes_leaves_nothing_behind(server, hearing, http):
    files = {"file": ("a", audio(speech(60)))}
    with http.stream("POST", f"{server}{TRANSCRIPTIONS}", files=files, data={"stream": "true"}) as response:
        next(response.iter_lines())
    stats, until = hearing._model.generator.engine.stats, time.monotonic() + 10
    while (stats.running or stats.waiting) and time.monotonic() < until:
        time.sleep(0.05)
    assert (stats.running, stats.waiting) == (0, 0)


def test_a_slow_upload_is_ended(serve_settings, hearing, monkeypatch):
    monkeypatch.setattr("spire_ray.serving.door._BODY_SECONDS", 0.3)
    url, end = run(serve_settings, hearing)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 99\r\n\r\nab".encode()
        )
        assert b" 408 " in slow.recv(200)
    end()
