"""What no row has done is told from what it has: a clock, keys, a bucket, a mount."""

import errno
import http.server
import threading

import pytest

from spire_ray.audio import source
from spire_ray.audio.source import AudioError, Unreachable
from spire_ray.core import access, storage

CODES = ["RequestTimeTooSkewed", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "NoSuchBucket"]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
@pytest.mark.parametrize("code", CODES)
def test_a_clock_or_a_key_of_s3_is_no_fault_of_a_row(code, whole, s3):
    server, _ = s3
    storage.write_bytes("s3://spire/a.wav", b"x")
    server.refusal = code
    with pytest.raises(Unreachable, match=f"^unreachable: {code}$"):
        source.opened("s3://spire/a.wav", whole=whole)
    with pytest.raises(Unreachable, match=f"^unreachable: {code}$"):
        source.opened("s3://spire/a.wav:0:1")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_an_object_that_may_not_be_read_or_is_not_there_is_its_row_s_fault(whole, s3):
    server, _ = s3
    with pytest.raises(AudioError, match=r"^no such key$"):
        source.opened("s3://spire/none.wav", whole=whole)
    server.refusal = "AccessDenied"
    with pytest.raises(AudioError, match=r"^no permission$"):
        source.opened("s3://spire/a.wav", whole=whole)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN])
def test_a_mount_that_hangs_or_is_stale_is_no_fault_of_a_row(number, monkeypatch, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")

    def stale(*_, **__):
        raise OSError(number, "stale")

    monkeypatch.setattr("pathlib.Path.open", stale)
    with pytest.raises(Unreachable):
        source.opened(str(tmp_path / "a.wav"))


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status that its path names."""

    def do_GET(self):
        self.send_error(int(self.path[1:4]))

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_a_web_server_that_is_away_or_busy_is_no_fault_of_a_row(whole, monkeypatch):
    monkeypatch.setenv(access.SCHEMES, "http")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}"
    for status, told in {404: "no such file", 410: "no such file", 403: "refused by the server: 403"}.items():
        with pytest.raises(AudioError, match=f"^{told}$"):
            source.opened(f"{place}/{status}.wav", whole=whole)
    for status in (500, 503, 429):
        with pytest.raises(Unreachable, match=f"^unreachable: ClientResponseError: {status}"):
            source.opened(f"{place}/{status}.wav", whole=whole)
    server.shutdown()
    server.server_close()
    with pytest.raises(Unreachable, match=r"^unreachable: .*[Cc]onnect"):
        source.opened(f"{place}/404.wav", whole=whole)
