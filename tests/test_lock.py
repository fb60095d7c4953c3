"""Who waits for a lock file hears of its holder, and goes on as soon as that one ends, however it ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distill import lock as lock_module
from distill.lock import holder, locked

SECONDS = 30.0
_HOLD = """
import subprocess, sys, time
from pathlib import Path
from distill.lock import locked
with locked(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(100)
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock and has a child that outlives it."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=SECONDS)
        process.stdout.close()


def wait_until(true: threading.Event) -> None:
    assert true.wait(SECONDS)


def enter(path: Path, entered: threading.Event) -> threading.Thread:
    def run() -> None:
        with locked(path):
            entered.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_holder_that_is_killed_lets_the_waiter_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, entered = tmp_path / "deep" / "a.lock", threading.Event()
    monkeypatch.setattr(lock_module, "_REMIND_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    with held(path) as process:
        thread = enter(path, entered)
        deadline = time.monotonic() + SECONDS
        while len(caplog.messages) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert set(caplog.messages) == {
            f"Waiting for process {process.pid} on {socket.gethostname()}, which holds {path}"
        }
        assert not entered.is_set()
        process.kill()
        wait_until(entered)
    thread.join(SECONDS)
    assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"


def test_nothing_is_said_without_a_holder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        with locked(tmp_path / "a.lock"):
            pass
    assert caplog.messages == []


def test_an_error_within_frees_it(tmp_path: Path) -> None:
    path, entered = tmp_path / "a.lock", threading.Event()
    with pytest.raises(ValueError, match="no"), locked(path):
        raise ValueError("no")
    thread = enter(path, entered)
    wait_until(entered)
    thread.join(SECONDS)


@pytest.mark.parametrize("content", [b"", b"\xff\n" * 1000])
def test_a_lock_file_that_names_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.lock"
    path.write_bytes(content)
    assert len(holder(path)) < 300
    assert holder(tmp_path / "nothing") == "another process"
