"""Room on this machine: files that were not used for longest go when others need it, and none that a process holds.

What a process holds it writes into a file of its own below `.held/`, locked for as long as it lives: a lock that can be
had is of a process that is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from distill.errors import ConfigError, DataError
from distill.lock import locked
from distill.places.manifest import MANIFEST, read_manifest
from distill.places.mirror import FOLDER_VARIABLE, local_root

BYTES_VARIABLE = "DISTILL_LOCAL_BYTES"
_SPARE = 0.9  # of what is free on the disk, without a limit
_HELD, _INCOMING, _LOCK = ".held", ".incoming", ".room.lock"
_ABANDONED_SECONDS = 3600.0
_own: dict[Path, tuple[FileLock, Path]] = {}  # root to the lock and the file of what this process holds there
_holds: set[Path] = set()
_guard = threading.Lock()


def limit_bytes() -> int | None:
    """Returns how many bytes fetched files may take; None if only the disk says.

    Raises:
        ConfigError: The variable holds no such number.
    """
    text = os.environ.get(BYTES_VARIABLE)
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(
            "A number of bytes cannot be read.", where=BYTES_VARIABLE, expected="a whole number, 1 or more", found=text
        )
    return int(text)


def hold(path: Path) -> None:
    """Keeps what lies at or below a path until this process ends."""
    root = local_root()
    with _guard:
        if root not in _own:
            _own[root] = _begin_to_hold(root)
        if _holds.isdisjoint((path, *path.parents)):
            _holds.add(path)
            with _own[root][1].open("a", encoding="utf-8") as out:
                out.write(f"{path}\n")


def _begin_to_hold(root: Path) -> tuple[FileLock, Path]:
    (root / _HELD).mkdir(parents=True, exist_ok=True)
    file = root / _HELD / uuid.uuid4().hex
    lock = FileLock(file.with_suffix(".lock"), thread_local=False)
    with locked(root / _LOCK):  # else it could be taken for one of a process that is gone
        lock.acquire()
        file.touch()
    return lock, file


def used(path: Path) -> None:
    """Remembers that a file is used now."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


@contextmanager
def incoming() -> Iterator[Path]:
    """Yields a name for a file that is being fetched; what is not moved away from there is gone afterwards."""
    folder = local_root() / _INCOMING
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid.uuid4().hex
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def make_room(needed: int, where: str) -> None:
    """Deletes fetched files, the longest unused first, until so many bytes fit.

    Args:
        needed: Bytes that are about to be fetched.
        where: What for, for errors.

    Raises:
        DataError: They do not fit beside what processes hold.
    """
    root = local_root()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / _LOCK):
        _forget_abandoned(root)
        files = sorted(_fetched(root))
        taken = sum(size for _, size, _ in files)
        room, held = _room(root, taken), _held(root)
        for _, size, path in files:
            if taken + needed <= room:
                return
            if held.isdisjoint((path, *path.parents)):
                path.unlink(missing_ok=True)
                taken -= size
    if taken + needed > room:
        raise DataError(
            "The files to fetch do not fit into the local cache.",
            where=where,
            expected=f"room for {needed:,} bytes beside {taken:,} that are in use",
            found=f"{room:,} bytes in {root}",
            remedy=f"Name a folder on a larger disk ({FOLDER_VARIABLE}), or raise {BYTES_VARIABLE} if it is set.",
        )


def _room(root: Path, taken: int) -> int:
    on_disk = taken + int(shutil.disk_usage(root).free * _SPARE)
    limit = limit_bytes()
    return on_disk if limit is None else min(limit, on_disk)


def _fetched(root: Path) -> Iterator[tuple[int, int, Path]]:
    """Yields last use, bytes and path of files that a store holds too."""
    for folder, _, names in os.walk(root / "raw"):
        yield from _stats(Path(folder), names)
    for folder, below, names in os.walk(root / "folders"):
        if MANIFEST in names:
            below.clear()
            with contextlib.suppress(ValueError, OSError):
                yield from _stats(Path(folder), read_manifest(Path(folder) / MANIFEST))


def _stats(folder: Path, names: Iterable[str]) -> Iterator[tuple[int, int, Path]]:
    for name in names:
        with contextlib.suppress(OSError):
            stat = (folder / name).stat()
            yield stat.st_atime_ns, stat.st_size, folder / name


def _held(root: Path) -> set[Path]:
    """Returns what processes hold, this one included; forgets those that are gone."""
    own = _own[root][1] if root in _own else None
    files = [path for path in (root / _HELD).glob("*") if not path.suffix]
    living = [file for file in files if file == own or not _is_gone(file)]
    return {Path(line) for file in living for line in file.read_text(encoding="utf-8").splitlines()}


def _is_gone(file: Path) -> bool:
    """Whether the process that held this is gone; if so, its file is too."""
    lock = FileLock(file.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    for path in (file, Path(lock.lock_file)):
        path.unlink(missing_ok=True)
    lock.release()
    return True


def _forget_abandoned(root: Path) -> None:
    """Deletes what a process that was killed had begun to fetch."""
    for path in (root / _INCOMING).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
