"""A folder in memory where there is one, no waiting for disks, and limits of time and memory."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

import pytest

SECONDS = 20.0
BYTES = 16 << 30
_SHARED = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[Path]]:
    """Makes folders for one case each."""
    monkeypatch.setattr("distill.files.fsync_path", lambda path: None)
    root = _SHARED if _SHARED.is_dir() and os.access(_SHARED, os.W_OK) else tmp_path

    @contextmanager
    def make() -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=root, prefix="distill-fuzz-") as name:
            yield Path(name)

    return make


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    """Bounds memory, and time from each call on."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"a case took more than {SECONDS} seconds")

    def start() -> None:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)

    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, limits[1]))
    try:
        yield start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
