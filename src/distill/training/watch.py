"""Ranks that end together: one that dies takes the others with it in seconds, instead of being waited for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import Popen, TimeoutExpired

from distill.errors import RankError

PARENT = "DISTILL_PARENT_PID"
"""Environment variable of a child: the process id of rank 0."""
_POLL_SECONDS = 0.2
_REPORT_SECONDS = 6.0  # what a rank has to report an error of its own before the others stop it

Children = Mapping[int, Popen[bytes]]


def rank_error(rank: int, status: int) -> RankError:
    """Says how a rank ended.

    Args:
        rank: Which.
        status: Its exit status; minus the number of the signal that ended it.
    """
    if status < 0:
        return RankError(
            f"Rank {rank} was killed by {signal.Signals(-status).name}; the run is stopped.",
            remedy="Go on with the same command and resume=last (SIGKILL is often a lack of memory).",
        )
    return RankError(
        f"Rank {rank} ended with an error; the run is stopped.",
        found=f"exit status {status}",
        remedy="See its message above; then go on with the same command and resume=last.",
    )


def first_failure(children: Children, wait_seconds: float = 0.0) -> RankError | None:
    """Returns the error of the first child that ended badly, waiting for one that is about to."""
    deadline = time.monotonic() + wait_seconds
    while True:
        for rank, child in children.items():
            if child.poll() not in (None, 0):
                return rank_error(rank, child.returncode)
        if time.monotonic() >= deadline or all(child.poll() == 0 for child in children.values()):
            return None
        time.sleep(_POLL_SECONDS)


@contextmanager
def watched(children: Children) -> Iterator[None]:
    """Ends this process when a child dies and the body does not notice by itself: it may wait for it in native code.

    Args:
        children: By rank.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            error = first_failure(children)
            if error is not None and not done.wait(_REPORT_SECONDS):
                for child in children.values():
                    child.kill()
                _exit(str(error))

    if children:
        threading.Thread(target=watch, name="distill-watch-children", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def follow_parent() -> None:
    """Ends this process as soon as the rank 0 that started it is gone; does nothing in a process started otherwise."""
    if PARENT not in os.environ:
        return
    parent = int(os.environ[PARENT])
    speaks = os.environ.get("LOCAL_RANK") == "1"

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        _exit("Rank 0 is gone; the run is stopped. Go on with the same command and resume=last." if speaks else "")

    threading.Thread(target=follow, name="distill-follow-parent", daemon=True).start()


def stop(children: Children, patience_seconds: float) -> None:
    """Ends all children: waits a while, then kills them, whatever they do with signals."""
    deadline = time.monotonic() + patience_seconds
    for child in children.values():
        try:
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutExpired:
            child.kill()
            child.wait()


def _exit(message: str) -> None:
    if message:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    os._exit(1)
