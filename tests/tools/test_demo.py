"""`spire demo`: what the bundled model hears, and the service's page with a bundled clip on it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from spire_ray.quickstart import bundle
from spire_ray.tools import demo
from tests.serving.conftest import free_port


def test_it_hears_the_bundled_clips_and_says_where_it_is_wrong(capsys):
    assert demo.main(["--no-page"]) == 0
    printed = capsys.readouterr().out
    for clip in bundle.clips():
        after = printed[printed.index(clip["path"]) :]
        for text in (clip["text"], clip["translations"]["de"]):
            assert f"{text}    (right)" in after or f"(said: {text})" in after
    assert printed.count("(right)") >= 4
    assert re.search(r"units  \d\d: \d+ ", printed) and "\x1b" not in printed


def test_a_clip_of_ones_own(capsys, tmp_path):
    assert demo.main([bundle.clips()[1]["path"], "--no-page"]) == 0
    assert f"English  {bundle.clips()[1]['text']}\n" in capsys.readouterr().out
    assert demo.main([str(tmp_path / "absent.wav"), "--no-page"]) == 2
    assert capsys.readouterr().err == f"demo: error: {tmp_path}/absent.wav: no such file\n"


@pytest.mark.parametrize("port", ["0", "99999", "-1"])
def test_a_port_that_cannot_be_is_refused_in_one_line(port, capsys):
    assert demo.main([f"--port={port}"]) == 2
    assert f"demo: port={port}: " in capsys.readouterr().err


def test_the_page_has_the_clip_and_answers_until_ctrl_c():
    port, environment = free_port(), {**os.environ, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "spire_ray", "demo", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    line = next(line for line in process.stdout if line.startswith("The page"))
    address = re.search(r"http://\S+", line)[0]
    with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=30) as client:
        assert "<title>spire" in client.get(address).text
        clip = client.get(address.replace("?clip=", "")).content
        assert clip == Path(bundle.clips()[0]["path"]).read_bytes()
        asked = client.post(
            f"http://127.0.0.1:{port}/v1/audio/transcriptions", files={"file": ("a.flac", clip)}, data={"model": "spire"}
        )
    assert asked.json()["text"] == bundle.clips()[0]["text"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ""


@pytest.mark.parametrize("name", ["model", "test-000000.flac"])
def test_nothing_of_the_machine_that_made_it_travels_with_it(name):
    assert not (bundle.FOLDER / "model" / "run.json").exists()
    assert (bundle.FOLDER / name).exists()
    texts = [file.read_text() for file in bundle.FOLDER.rglob("*") if file.suffix in (".json", ".md", ".jsonl")]
    assert not any("runs/" in text or "/tmp" in text for text in texts)
