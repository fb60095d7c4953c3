"""Marks of use: which folder a process reads, which runs read it, and when that was.

A mark is a file beside the folder, `.<name>.use`. Processes that read the folder share the kernel's lock on it (flock)
until they end, however they end; each adds its run. Only folders that this package keeps have one: those with a lock
file beside them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from distill.lock import holder

try:
    import fcntl
except ImportError:  # a system without flock: nothing is marked, and nothing is deleted
    fcntl = None  # type: ignore[assignment]

_MOST_RUNS = 50
_run: ContextVar[str | None] = ContextVar("run", default=None)
_held: dict[Path, IO[str]] = {}


@contextmanager
def run_named(folder: Path) -> Iterator[None]:
    """Within the block what is used is used by this run."""
    token = _run.set(str(folder))
    try:
        yield
    finally:
        _run.reset(token)


def mark_of(folder: Path) -> Path:
    """Returns the file that marks the use of a folder."""
    return folder.parent / f".{folder.name}.use"


def use(folder: Path, lock: Path) -> None:
    """Marks a folder as used by this process until it ends; not a folder without a lock file, which is a user's own.

    Args:
        folder: What is read.
        lock: The lock file of who wrote it. Hold the lock meanwhile, or look afterwards whether the folder is there.
    """
    if fcntl is None or not lock.is_file():
        return
    with contextlib.suppress(OSError):  # a folder that cannot be written cannot be deleted either
        mark = mark_of(folder.absolute())
        stream = _held.get(mark)
        if stream is None or os.fstat(stream.fileno()).st_nlink == 0:  # deleted since, with its folder
            stream = mark.open("a+", encoding="utf-8")
            fcntl.flock(stream, fcntl.LOCK_SH)
            _held[mark] = stream
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        if (run := _run.get()) is not None and run not in runs_of(folder):
            stream.write(f"run {run}\n")
        stream.flush()
        os.utime(mark)


def runs_of(folder: Path) -> list[str]:
    """Returns the last runs that used a folder, as far as they left their names, each once."""
    lines = [line.removeprefix("run ") for line in _lines(folder) if line.startswith("run ")]
    return list(dict.fromkeys(lines))[-_MOST_RUNS:]


def user_of(folder: Path, lock: Path) -> str | None:
    """Returns which process writes or uses a folder now, None if none does."""
    try:
        with unused(folder, lock):
            return None
    except InUseError as error:
        return str(error)


class InUseError(Exception):
    """A process holds the folder; its text says which."""


@contextmanager
def unused(folder: Path, lock: Path) -> Iterator[None]:
    """Holds a folder against all others, which wait.

    Raises:
        InUseError: A process writes or reads it.
    """
    if fcntl is None:
        raise InUseError("this system has no locks that say so")
    with _alone(lock, lambda: f"{holder(lock)} writes it"), _alone(mark_of(folder), lambda: _reader(folder)):
        yield


@contextmanager
def _alone(file: Path, says: Callable[[], str]) -> Iterator[None]:
    """Holds a lock file, if it is there; opened to be read, since what it says of its holder must stay."""
    if not file.is_file():
        yield
        return
    with file.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUseError(says()) from error
        yield


def _reader(folder: Path) -> str:
    processes = [line for line in _lines(folder) if line.startswith("process ")]
    return f"{processes[-1] if processes else 'a process'} reads it"


def _lines(folder: Path) -> list[str]:
    try:
        return mark_of(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
