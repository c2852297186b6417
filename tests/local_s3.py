"""An S3 server on this machine (moto), which is slow or fails when a test wants it to."""

import threading
import time

import pytest


class Flaky:
    """Every so many requests the server says that it is busy, and while `gone` that it has no such bucket.

    It counts the uploads in several parts that are begun.
    """

    def __init__(self, application):
        self._application, self._lock = application, threading.Lock()
        self.every = self.requests = self.refused = self.uploads = 0
        self.gone = False
        self.refusal = ""
        """The code that every request is refused with."""
        self.slow = 0.0
        """Seconds before a request is answered."""
        self.within = ""
        """Where what is asked for has to begin for all of this to happen to it: `/spire/corpus/`."""

    def __call__(self, environment, respond):
        if not environment["PATH_INFO"].startswith(self.within):
            return self._application(environment, respond)
        time.sleep(self.slow)
        with self._lock:
            self.requests += 1
            busy = self.every and self.requests % self.every == 0
            self.refused += bool(busy)
            self.uploads += environment["REQUEST_METHOD"] == "POST" and environment["QUERY_STRING"].startswith("uploads")
        if self.refusal:
            return self._refused(environment, respond)
        if not busy and not self.gone:
            return self._application(environment, respond)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        told = b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"
        body = b"" if busy or environment["REQUEST_METHOD"] == "HEAD" else told
        respond("503 Slow Down" if busy else "404 Not Found", [("Content-Length", str(len(body)))])
        return [body]

    def mend(self):
        """Let everything be well."""
        self.every, self.gone, self.refusal, self.slow, self.within = 0, False, "", 0.0, ""

    def _refused(self, environment, respond):
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        told = f"<Error><Code>{self.refusal}</Code><Message>refused</Message></Error>".encode()
        body = b"" if environment["REQUEST_METHOD"] == "HEAD" else told
        respond("403 Forbidden", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture(scope="session")
def s3_server():
    """(application, URL) of a server on this machine."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    flaky = Flaky(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, flaky, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield flaky, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """(server, client) with one empty bucket."""
    import boto3
    import fsspec

    flaky, url = s3_server
    environment = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in {**environment, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="spire")
    yield flaky, client
    flaky.mend()
    for entry in client.list_objects_v2(Bucket="spire").get("Contents", []):
        client.delete_object(Bucket="spire", Key=entry["Key"])
    client.delete_bucket(Bucket="spire")
    fsspec.filesystem("s3").clear_instance_cache()
