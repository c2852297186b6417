"""A manifest names what it may: no device, no scheme that nobody allowed, nothing beside the roots, no private network behind a
redirect, nothing without an end."""

import contextlib
import http.server
import os
import threading

import pytest

from spire_ray.audio import source
from spire_ray.audio.source import AudioError
from spire_ray.core import access, storage


def refused(place, **how):
    with pytest.raises(AudioError) as told:
        source.opened(str(place), **how)
    return str(told.value)


def test_devices_pipes_and_the_system_are_no_files_by_whatever_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/proc/self")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for place in ("/dev/zero", "file:///dev/zero", "local:///dev/zero", f"file://{tmp_path}/pipe", tmp_path / "zero"):
        assert refused(place) == "a device or pipe, not a file"
    for place in ("/proc/self/environ", "file:///proc/self/environ", tmp_path / "link" / "environ", "/proc/self/environ:0:10"):
        assert refused(place) == "of the system, not a file"
    assert refused("a\x00b").startswith("not a path of audio: ")


def test_a_file_by_its_uri_is_that_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    with source.opened(f"file://{tmp_path}/a.wav") as file:
        assert file.read() == b"sound"


@pytest.mark.parametrize("place", ["http://localhost/a", "hf://a/b/c", "simplecache::http://localhost/a", "zip://a::/b.zip"])
def test_other_schemes_are_not_asked(place):
    assert refused(place).startswith("scheme not allowed: ")


def test_once_roots_are_set_nothing_else_is_read(tmp_path, monkeypatch, s3):
    for folder in ("in", "out", "in-not"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").write_bytes(b"sound")
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "out" / "a.wav")
    storage.write_bytes("s3://spire/in/a.wav", b"sound")
    storage.write_bytes("s3://spire/out/a.wav", b"sound")
    monkeypatch.setenv(access.ROOTS, f"{tmp_path}/in\ns3://spire/in")
    for place in (tmp_path / "in" / "a.wav", f"file://{tmp_path}/in/a.wav", "s3://spire/in/a.wav", f"{tmp_path}/in/a.wav:0:2"):
        assert source.opened(str(place)).read()
    outside = ["out/a.wav", "in-not/a.wav", "in/link.wav", "in/../out/a.wav", "out/a.wav:0:2"]
    for place in [*(tmp_path / one for one in outside), "s3://spire/out/a.wav", "s3://spire/in/../out/a.wav"]:
        assert refused(place) == "outside storage.roots"


def test_an_object_larger_than_it_may_be_is_not_read_to_its_end(monkeypatch, s3):
    storage.write_bytes("s3://spire/a.wav", bytes(2000))
    storage.write_bytes("s3://spire/empty.wav", b"")
    assert len(source.opened("s3://spire/a.wav").read()) == 2000
    assert refused("s3://spire/empty.wav") == "empty file"
    monkeypatch.setenv(access.LARGEST, "1e-6")
    assert refused("s3://spire/a.wav") == refused("s3://spire/a.wav:0:1500") == "larger than 1e-06 GB"


class Server(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/a.wav":
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"sound" if self.command == "GET" else b"")
        elif self.path == "/endless.wav":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while self.command == "GET":
                    self.wfile.write(bytes(1 << 16))
        else:
            self.send_response(302)
            self.send_header("Location", f"http://{self.path[1:]}:{self.server.server_port}/secret")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    Server.asked.clear()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("private", ["127.0.0.2", "localhost"])
def test_a_redirect_to_a_private_address_is_not_followed(private, whole, server, monkeypatch):
    monkeypatch.setenv(access.SCHEMES, "http")
    assert source.opened(f"{server}/a.wav", whole=whole).read() == b"sound"
    assert refused(f"{server}/{private}", whole=whole) == f"redirected to the private address {private}"
    assert "/secret" not in Server.asked


def test_an_answer_without_an_end_has_one(server, monkeypatch):
    monkeypatch.setenv(access.SCHEMES, "http")
    monkeypatch.setenv(access.LARGEST, "1e-3")
    assert refused(f"{server}/endless.wav") == "larger than 0.001 GB"
