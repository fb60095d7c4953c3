"""A file lock that says who holds it for as long as it is waited for."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

_REMIND_SECONDS = 60.0
_LONGEST = 200
_HAS_FLOCK = not issubclass(FileLock, SoftFileLock)
_log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file; while another process holds it, says which one, at once and then every minute.

    There is no limit to the waiting, and none is needed: the lock is the kernel's (flock), which frees it when its
    holder ends, however it ends. The file stays and names the last holder; it is the lock on it that counts.

    Args:
        path: The lock file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    _acquire(lock, path)
    try:
        if _HAS_FLOCK:  # without, filelock keeps its own record of the holder there
            _leave_name(path)
        yield
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Returns what a lock file says of the process that holds it, or held it last."""
    try:
        text = path.read_bytes()[:_LONGEST].decode(errors="replace")
    except OSError:
        text = ""
    return " ".join(text.split()) or "another process"


def _acquire(lock: FileLock, path: Path) -> None:
    patience = 0.0
    while True:
        try:
            lock.acquire(timeout=patience)
            return
        except Timeout:
            _log.info("Waiting for %s, which holds %s", holder(path), path)
            patience = _REMIND_SECONDS


def _leave_name(path: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: the name is for people only
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
