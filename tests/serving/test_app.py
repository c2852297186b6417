"""The server over HTTP, as the official client and others call it."""

import io
import json
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile

from spire_ray.core import config
from spire_ray.settings import ServeSettings
from spire_ray.tools import transcribe

ROOT = Path(__file__).parent.parent.parent
NEW_TOKENS = 32
HTTP = httpx.Client(timeout=60)


def audio(samples, container="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=container)
    return file.getvalue()


def wav(seconds, seed=0):
    return audio(np.random.default_rng(seed).standard_normal(int(16_000 * seconds)) / 8)


def silence(seconds):
    return audio(np.zeros(16_000 * seconds), "FLAC")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def settings(tiny_model, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("serve") / "out")
    return ServeSettings(
        model=tiny_model, output=output, port=free_port(), max_batch_size=2, max_upload_mb=2, max_new_tokens=NEW_TOKENS
    )


@pytest.fixture(scope="module")
def server(ray_session, settings):
    """URL of the running application."""
    from spire_ray.stages import serve

    with serve.running(settings):
        yield serve.url(settings)


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        yield client


def post(server, file=None, **fields):
    files = {"file": ("clip.wav", wav(1) if file is None else file)}
    return HTTP.post(f"{server}/v1/audio/transcriptions", files=files, data={"model": "spire", **fields})


def offline(capsys, model, clip, *options):
    assert transcribe.main([str(clip), "--model", model, "--max-new-tokens", str(NEW_TOKENS), *options]) == 0
    return capsys.readouterr().out.rstrip("\n").split("\t")[1]


def test_the_official_client_gets_the_text_of_the_offline_tool(client, tiny_model, tmp_path, capsys):
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav(1.5))
    with clip.open("rb") as file:
        answer = client.audio.transcriptions.create(file=file, model="spire", language="en", temperature=0, prompt="-")
    assert " ".join(answer.text.split()) == offline(capsys, tiny_model, clip) != ""
    assert answer.usage.type == "duration" and answer.usage.seconds == 1.5
    german = client.audio.transcriptions.create(file=clip, model="spire", extra_body={"to_language": "de"})
    assert " ".join(german.text.split()) == offline(capsys, tiny_model, clip, "--to", "German")
    assert german.text != answer.text
    text = client.audio.transcriptions.create(file=clip, model="spire", response_format="text")
    assert text == answer.text


def test_english_names_and_other_formats_of_audio(server):
    clip = wav(1)
    flac = audio(soundfile.read(io.BytesIO(clip))[0], "FLAC")
    assert post(server, clip, to_language="German").json() == post(server, flac, to_language="de").json()


def test_the_limit_is_on_units_not_on_seconds(server):
    assert post(server, silence(40)).status_code == 200


def test_models_and_health(server, client):
    assert HTTP.get(f"{server}/health").json() == {"status": "ok"}
    listed = HTTP.get(f"{server}/v1/models").json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert (model["id"], model["object"]) == ("spire", "model") and model["created"] > 0 and model["owned_by"]
    assert [model.id for model in client.models.list()] == ["spire"]
    assert client.models.retrieve("spire").id == "spire"


@pytest.mark.parametrize(
    ("request_", "status", "param", "words"),
    [
        ({"language": "xx"}, 400, "language", "'xx' is unknown; known are en, de"),
        ({"to_language": "Klingon"}, 400, "to_language", "'Klingon' is unknown"),
        ({"response_format": "srt"}, 400, "response_format", "supported are json, text"),
        ({"stream": "true"}, 400, "stream", "not supported"),
        ({"model": "whisper-1"}, 404, "model", "'whisper-1' does not exist; this server has 'spire'"),
        ({"temperature": "warm"}, 422, "temperature", "number"),
        ({"file": b"no audio"}, 415, "file", "not readable as audio"),
        ({"file": b""}, 415, "file", "empty file"),
        ({"file": wav(0.01)}, 400, "file", "too short"),
        ({"file": wav(40)}, 400, "file", "up to 1[0-9].[0-9] s always fit.*this file: 40.0 s"),
        ({"file": silence(400)}, 400, "file", "up to 1[0-9].[0-9] s always fit"),
        ({"file": bytes(2 * 2**20 + 1)}, 413, "file", "larger than 2 MB"),
        ({"file": bytes(40 * 2**20)}, 413, "file", "larger than 2 MB"),
    ],
)
def test_errors_have_the_shape_of_the_api(server, request_, status, param, words):
    response = post(server, **request_)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and error["type"] == "invalid_request_error" and error["code"]
    assert re.search(words, error["message"])


def test_a_missing_file_and_an_unknown_path_have_that_shape_too(server):
    missing = HTTP.post(f"{server}/v1/audio/transcriptions", data={"model": "spire"})
    assert missing.status_code == 422 and missing.json()["error"]["param"] == "file"
    unknown = HTTP.get(f"{server}/v1/nothing")
    assert unknown.status_code == 404 and unknown.json()["error"]["message"] == "Not Found"


def test_the_official_client_raises_its_errors(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.audio.transcriptions.create(file=("a.wav", wav(1)), model="whisper-1")
    with pytest.raises(openai.BadRequestError) as raised:
        client.audio.transcriptions.create(file=("a.wav", wav(1)), model="spire", language="xx")
    assert raised.value.code == "unknown_language" and raised.value.param == "language"


def test_the_job_asks_about_a_held_out_clip(server, settings, tmp_path, capsys):
    from spire_ray.stages import serve

    rows = [
        {"utt_id": "a", "text": "one", "split": "train", "translations": {"de": "eins"}},
        {"utt_id": "b", "text": "two", "split": "test", "translations": {"fr": "deux"}},
        {"utt_id": "c", "text": "three", "split": "test", "translations": {"de": "drei"}, "offset": 0.5, "duration": 1.0},
    ]
    (tmp_path / "clip.wav").write_bytes(wav(2))
    lines = [json.dumps({"audio_filepath": "clip.wav", "language": "en", **row}) for row in rows]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    asking = replace(settings, manifest=str(tmp_path / "manifest.jsonl"), to_language="German", output=str(tmp_path / "out"))
    check = serve._check(asking, serve._held_out(asking))
    assert (check["utt_id"], check["reference"], check["reference_translation"]) == ("c", "three", "drei")
    cut = Path(check["clip"])
    assert cut.parent == tmp_path / "out" and soundfile.info(cut).duration == 1
    assert check["transcript"] == post(server, cut.read_bytes()).json()["text"] != check["translation"]
    assert check["curl"] == f"curl {server}/v1/audio/transcriptions -F file=@{cut} -F model=spire -F to_language=German"
    assert check["curl"] in capsys.readouterr().out
    with pytest.raises(ValueError, match="no utterance of it with text and a translation into fr"):
        serve._held_out(replace(asking, split="train", to_language="fr"))


def test_a_second_application_is_refused(server, settings):
    from spire_ray.stages import serve

    with pytest.raises(ValueError, match="this cluster serves spire already"), serve.running(replace(settings, port=free_port())):
        pass
    assert HTTP.get(f"{server}/health").is_success


def test_the_job_finds_the_application_beside_itself(settings, tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text(json.dumps(config.to_dict(settings)))
    command = [sys.executable, "jobs/serve.py", "--config", str(file), "--dry-run", "keep=true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{settings.port}, 1 to 1 replicas" in done.stdout
    assert "until Ctrl-C or SIGTERM" in done.stdout


def test_an_overload_is_answered_with_503(server):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: post(server, wav(0.5, seed)), range(50)))
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["Retry-After"]


def test_a_port_in_use_is_refused(settings):
    from spire_ray.stages import serve

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"127.0.0.1:{port}: Address already in use; set port to a free one"):
            serve.require_free_port(replace(settings, port=port))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"replicas": 3}, "replicas=3: must be at least 1 and at most max_replicas=1"),
        ({"gpus_per_replica": 2.0}, "gpus_per_replica=2: must be between 0 and 1"),
        ({"max_batch_size": 0}, "max_batch_size=0: must be at least 1"),
        ({"model": "."}, "stage extend_model"),
    ],
)
def test_what_cannot_be_served_is_refused_before_it_starts(settings, changed, words):
    from spire_ray.serving.app import application

    with pytest.raises(ValueError, match=words):
        application(replace(settings, **changed))


def test_the_builder_takes_a_file_and_overrides(settings, tmp_path):
    from spire_ray.serving.app import build

    file = tmp_path / "serve.yaml"
    file.write_text(json.dumps(config.to_dict(settings)))
    assert build({"config": str(file), "replicas": "2", "max_replicas": "2"})
    with pytest.raises(ValueError, match="config=configs"):
        build({})
    with pytest.raises(ValueError, match="did you mean replicas"):
        build({"config": str(file), "replica": "2"})
