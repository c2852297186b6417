"""Requests that mean harm or nonsense: a 4xx in time, never a 5xx or a hang; nothing from a request names a file."""

import json
import os
import re

import httpx
import numpy as np
import pytest

from tests.serving.conftest import audio, speech

ROUTES = ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/units", "/v1/chat/completions")
MANY = int(os.environ.get("SPIRE_FUZZ", "150"))
"""Requests for each kind; 5,000 take some minutes."""


def mutated(draw, data):
    broken = bytearray(data)
    for _ in range(int(draw.integers(1, 12))):
        kind, place = draw.integers(4), int(draw.integers(0, len(broken) + 1))
        if kind == 0:
            broken[place : place + 1] = bytes([draw.integers(256)])
        elif kind == 1:
            del broken[place : place + int(draw.integers(1, 400))]
        elif kind == 2:
            broken[place:place] = draw.bytes(int(draw.integers(1, 64)))
        else:
            broken[place : place + 4] = b"\xff\xff\xff\x7f"
    return bytes(broken)


def ask(http, server, path, **given):
    response = http.post(f"{server}{path}", **given)
    assert response.status_code < 500, (path, response.status_code, response.text[:300], str(given)[:500])
    return response


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_broken_audio(server, http, container):
    draw = np.random.default_rng(len(container))
    clip = audio(speech(1), container)
    found = [ask(http, server, ROUTES[n % 3], files={"file": ("a", mutated(draw, clip))}).status_code for n in range(MANY)]
    assert set(found) <= {200, 400, 415}


def test_broken_forms(server, http):
    draw = np.random.default_rng(0)
    request = httpx.Request("POST", server, files={"file": ("a.wav", audio(speech(0.2)))}, data={"language": "en"})
    body, kind = request.read(), request.headers["content-type"]
    found = set()
    for n in range(MANY):
        shown = mutated(draw, kind.encode()).decode("latin-1") if n % 5 == 0 else kind
        headers = {"Content-Type": re.sub(r"[^\x20-\x7e]", "?", shown)}
        content = mutated(draw, body[:3000] if n % 2 else body)
        found.add(ask(http, server, ROUTES[n % 3], content=content, headers=headers).status_code)
    assert {400} < found <= {200, 400, 415}


def test_broken_conversations(server, http):
    draw = np.random.default_rng(1)
    whole = json.dumps({"model": "spire", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "n": 1})
    for _ in range(MANY):
        ask(http, server, ROUTES[3], content=mutated(draw, whole.encode()))
    for body in (
        b"[" * 100_000,
        b"{}",
        b"null",
        b'{"messages": [[]]}',
        b'{"messages": [null]}',
        b'{"temperature": NaN, "messages": [1]}',
    ):
        assert 400 <= ask(http, server, ROUTES[3], content=body).status_code < 500


@pytest.mark.parametrize(
    "fields",
    [
        {"language": "../../etc/passwd"},
        {"model": "/etc/passwd"},
        {"to_language": ["de"] * 1000 + ["../x"]},
        {"response_format": "\0"},
        {"temperature": "9" * 10_000},
        {"language": "\ud7ff" * 5000},
        {"mode": "__class__"},
        {"__proto__": "x"},
    ],
)
def test_fields_that_are_no_such_thing(server, http, fields):
    assert ask(http, server, ROUTES[0], files={"file": ("../../etc/x.wav", audio(speech(0.3)))}, data=fields).status_code in (
        400,
        404,
    )


def test_no_name_of_a_file_is_read(server, http):
    for name in ("/etc/passwd", "s3://bucket/x", "http://127.0.0.1/x", "../x"):
        assert ask(http, server, ROUTES[0], content=name.encode(), headers={"Content-Type": "audio/wav"}).status_code == 415
    for path in ("/..%2f..%2fetc/passwd", "/%2e%2e/etc/passwd", "/v1/models/../../etc/passwd", "//etc/passwd"):
        assert http.get(f"{server}{path}").status_code == 404


def test_it_goes_on_afterwards(post, hearing):
    assert post().status_code == 200
    stats = hearing._model.generator.engine.stats
    assert (stats.running, stats.waiting) == (0, 0)
    hearing.check_health()
