"""A real S3 server on loopback (moto's), and a proxy before it that does what networks and servers do wrong."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.fs as pafs
import pytest

from distill.places import remote

BUCKET = "shop"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server() -> Iterator[int]:
    """Yields the port of a server with an empty bucket; skips the test without moto."""
    server = pytest.importorskip("moto.server", reason="pip install -e '.[test-all]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        _, port = running.get_host_and_port()
        bucket_at(port, allow_bucket_creation=True).create_dir(BUCKET)
        yield port
    finally:
        running.stop()


def bucket_at(port: int, **more: bool) -> pafs.S3FileSystem:
    """The file system of a server, past what is tested."""
    keys = {"access_key": "a", "secret_key": "b", "region": "us-east-1"}
    return pafs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", **keys, **more)


class Faults(ThreadingHTTPServer):
    """A proxy. `wrong` says of each request (its number, from 1 on, and method) what goes wrong: None, `drop` before an
    answer, `cut` in the middle of one, `slow`, or `503`."""

    daemon_threads = True

    def __init__(self, target: int, wrong: Callable[[int, str], str | None], seconds: float = 3.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.wrong, self.seconds = target, wrong, seconds
        self.requests, self.faults = 0, 0
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str) -> str | None:
        with self._lock:
            self.requests += 1
            found = self.wrong(self.requests, method)
            self.faults += found is not None
            return found

    def handle_error(self, *_: object) -> None:
        """Connections that are cut are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faults

    def _answer(self) -> None:
        body = self._body()
        fault = self.server.fault(self.command)
        if fault == "slow":
            time.sleep(self.server.seconds)
        if fault == "503":
            self._send(503, {}, b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>")
            return
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        connection.request(self.command, self.path, body, {n: v for n, v in self.headers.items() if n != "Expect"})
        answer = connection.getresponse()
        self._send(answer.status, dict(answer.getheaders()), answer.read(), cut=fault == "cut")
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            del self.headers["Transfer-Encoding"]
            self.headers["Content-Length"] = str(len(found))
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        size = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def proxy(target: int, wrong: Callable[[int, str], str | None], seconds: float = 3.0) -> Iterator[Faults]:
    """Runs a proxy before a server."""
    with Faults(target, wrong, seconds) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def lead_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Sends what this process and those that it starts ask of S3 to an address."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "_REQUEST_SECONDS", 1.0)
    remote._file_system.cache_clear()
