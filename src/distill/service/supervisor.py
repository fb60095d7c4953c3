"""Starts the workers, starts one again that ended, and stops them all."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distill.errors import ConfigError
from distill.places.here import folder_here
from distill.places.uri import is_uri
from distill.service.options import LOOPBACK, Options, read_token

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PACKAGES = ("fastapi", "uvicorn", "httptools", "orjson", "prometheus_client", "onnxruntime")
_REFUSED = 2
_BIND_SECONDS = 5.0  # a service that was killed lets go of its port
_LONGEST_PAUSE = 30.0
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A place for a worker: its process, the socket by which it knows that we live, and when it may start again."""

    process: subprocess.Popen[bytes] | None = None
    life: socket.socket | None = None
    next_start: float = 0.0
    pause: float = 0.5
    was_ready: bool = field(default=False)


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ConfigError: Options do not go together, a package is missing, the port cannot be had, or the token not be read.
        SystemExit: With status 2, if no worker could ever start.
    """
    options = _fetched(options.checked())
    _check_packages()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    has_token = read_token(options, dict(os.environ)) is not None
    listener = _listen(options)
    host, port = listener.getsockname()[:2]
    if options.host not in LOOPBACK and not has_token:
        _log.warning("The service listens on %s without a token: anybody who can reach it may use it.", host)
    with tempfile.TemporaryDirectory(prefix="distill-serve-", ignore_cleanup_errors=True) as folder, listener:
        supervisor = Supervisor(options, listener, Path(folder))
        _log.info("Listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        status = supervisor.run()
    if status:
        raise SystemExit(status)


class Supervisor:
    """The workers of one service.

    Args:
        options: Of the service.
        listener: Socket that all of them accept from.
        folder: Shared by them.
    """

    def __init__(self, options: Options, listener: socket.socket, folder: Path) -> None:
        self._options, self._listener, self._folder = options, listener, folder
        self._metrics = folder / "metrics"
        self._metrics.mkdir()
        self._workers = [_Worker() for _ in range(options.workers)]
        self._wake, self._woken = socket.socketpair()
        self._is_stopping = False

    def run(self) -> int:
        """Runs the workers until a signal; returns the exit status."""
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._is_stopping:
                for worker in self._workers:
                    self._look_after(worker)
                if self._cannot_start():
                    return _REFUSED
                self._wait()
            return 0
        finally:
            self._end()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, *_: Any) -> None:
        self._is_stopping = True

    def _cannot_start(self) -> bool:
        """Whether no worker ever served, and one says that what the user gave is wrong."""
        if any(worker.was_ready for worker in self._workers):
            return False
        return any(w.process is not None and w.process.returncode == _REFUSED for w in self._workers)

    def _look_after(self, worker: _Worker) -> None:
        if worker.process is not None and worker.process.poll() is None:
            return
        now = time.monotonic()
        if worker.process is not None and worker.life is not None:
            code = worker.process.returncode
            _log.error("Worker %d ended with status %d; it is started again.", worker.process.pid, code)
            _forget_gauges(self._metrics, worker.process.pid)
            worker.life.close()
            worker.life = None
            worker.next_start = now if worker.pause < 1 else now + worker.pause
            worker.pause = min(2 * worker.pause, _LONGEST_PAUSE)
            if self._cannot_start():
                return
        if now >= worker.next_start:
            self._start(worker)

    def _start(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            fds = (self._listener.fileno(), theirs.fileno())
            command = [sys.executable, "-m", "distill.service.worker", *map(str, fds), str(self._folder)]
            variables = {**dict.fromkeys(_ONE_THREAD, "1"), **os.environ, _METRICS_VARIABLE: str(self._metrics)}
            worker.process = subprocess.Popen(
                [*command, json.dumps(self._options.plain())],
                pass_fds=fds,
                env=variables,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us, who stop them
            )
        worker.life = ours

    def _wait(self) -> None:
        """Waits until a worker says something or ends, a signal comes, or a while."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for worker in self._workers:
                if worker.life is not None:
                    selector.register(worker.life, selectors.EVENT_READ, worker)
            for key, _ in selector.select(0.5):
                if key.data is None:
                    self._woken.recv(64)
                elif self._heard(key.data):
                    key.data.was_ready, key.data.pause = True, 0.5
                else:
                    time.sleep(0.02)  # it is about to end

    @staticmethod
    def _heard(worker: _Worker) -> bool:
        assert worker.life is not None
        with contextlib.suppress(OSError):
            return bool(worker.life.recv(64))
        return False

    def _end(self) -> None:
        self._listener.close()
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + self._options.stop_seconds + 5
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _fetched(options: Options) -> Options:
    """Returns the options with the bundle on this machine: workers that start again find it there."""
    if options.bundle is not None:
        return replace(options, bundle=str(folder_here(options.bundle, "--bundle")))
    if is_uri(options.root):
        raise ConfigError(
            "A watched folder must be on this machine.",
            where="--root",
            expected="a path of this machine, or --bundle URI for a bundle that stays",
            found=options.root,
        )
    return options


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "A package of the service is not installed.",
            found=f"no {', '.join(missing)}",
            remedy="Install them: pip install 'distill-ranker[service]'.",
        )


def _listen(options: Options) -> socket.socket:
    """Opens the socket; waits a while for a port that is still in use."""
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
            return socket.create_server((options.host, options.port), family=family, backlog=2048)
        except OSError as error:
            if time.monotonic() > deadline or options.port == 0:
                raise ConfigError(
                    "The service cannot listen there.",
                    where="--host, --port",
                    found=f"{options.host}:{options.port}: {error.strerror or error}",
                    remedy="Choose another port.",
                ) from error
            time.sleep(0.1)


def _forget_gauges(folder: Path, process: int) -> None:
    """Takes the gauges of a worker that ended out of the sums; its counts stay."""
    for path in folder.glob(f"gauge_live*_{process}.db"):
        path.unlink(missing_ok=True)
