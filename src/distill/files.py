"""Files that appear whole or not at all: write beside, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath

from distill.errors import DataError, DistillError

_BLOCK = 1 << 22
_TEMPORARY = ".writing-"
_RAW = ".raw-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary_sibling(path: Path) -> Path:
    """Returns an unused hidden name beside `path`, on the same file system."""
    return path.parent / f".{path.name}{_TEMPORARY}{uuid.uuid4().hex[:12]}"


@contextmanager
def raw_sibling(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` for what `path` is made of; it is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}{_RAW}") as folder:
        yield Path(folder)


def own_folder(folder: Path) -> Path:
    """Makes a folder of a task's own in another: of a task that runs twice only that is read whose name came back."""
    own = folder / uuid.uuid4().hex
    own.mkdir()
    return own


def is_temporary(path: Path) -> bool:
    """Whether a name is one of those that writing gives to what is not whole yet."""
    return path.name.startswith(".") and (_TEMPORARY in path.name or _RAW in path.name)


def remove_leftovers(path: Path) -> None:
    """Deletes what an interrupted write of `path` left beside it; the caller holds the lock that guards `path`."""
    if path.parent.is_dir():
        for leftover in path.parent.iterdir():
            if leftover.name.startswith((f".{path.name}{_TEMPORARY}", f".{path.name}{_RAW}")):
                _remove(leftover)


def remove_leftovers_below(folder: Path) -> None:
    """Deletes what interrupted writes left anywhere below a folder; the caller holds the lock that guards it."""
    for leftover in sorted(folder.rglob(f".*{_TEMPORARY}*")):
        _remove(leftover)


def _remove(leftover: Path) -> None:
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Forces a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(root: Path) -> None:
    """Forces every file and folder below `root`, and `root` itself, to disk."""
    for path in sorted(root.rglob("*")):
        fsync_path(path)
    fsync_path(root)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Turns a full disk while `path` is written into an error that names it.

    Raises:
        DataError: The disk, the quota or the permitted size of a file is used up.
    """
    try:
        yield
    except Exception as error:  # LMDB, FAISS and compilers have classes of their own for it
        if not _is_no_room(error):
            raise
        raise no_room(path, error) from error


def _is_no_room(error: Exception) -> bool:
    if isinstance(error, DistillError):
        return False  # told already, perhaps with such words
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return any(os.strerror(code) in str(error) for code in _NO_ROOM)


def no_room(path: Path, error: Exception) -> DataError:
    """Says that a file or folder cannot be written, and how many bytes are free where it should go."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return DataError(
        "There is no room to write; no incomplete file is left.",
        where=str(path),
        found=f"{str(error).splitlines()[0][:200]}; {shutil.disk_usage(folder).free:,} bytes are free in {folder}",
        remedy="Free some space or choose another folder (paths.data, paths.cache, paths.runs), then start again.",
    )


def write_text_atomic(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, replacing an older one."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, replacing an older one."""
    with room_for(path), atomic_file(path) as beside:
        beside.write_bytes(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` for a file that becomes `path` when the block ends well, and disappears when it
    raises."""
    beside = temporary_sibling(path)
    try:
        yield beside
        fsync_path(beside)
        beside.replace(path)
        fsync_path(path.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes `path` when the block ends well, and disappears when it raises.

    Args:
        path: The final folder; it must not exist, or be empty.

    Raises:
        DataError: There is something at `path` already, before or after the block; or the disk is full.
    """
    _refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary_sibling(path)
    beside.mkdir()
    try:
        with room_for(path):
            yield beside
            fsync_tree(beside)
            _refuse_existing(path)
            beside.replace(path)
            fsync_path(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def hash_bytes(data: bytes) -> str:
    """Hashes bytes as `hash_file` hashes a file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """Hashes the content of a file (blake2b, 32 hex digits)."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def below(path: str) -> str:
    """Returns a path that a file names, if it lies below the folder of that file.

    Raises:
        ValueError: It lies elsewhere.
    """
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path} does not lie below the folder")
    return path


def hash_once(path: Path) -> str:
    """Hashes a file once per process; a change that keeps size, time of change and inode is not seen a second time."""
    stat = path.stat()
    return _hash_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@cache
def _hash_of(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    return hash_file(path)


def _refuse_existing(path: Path) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise DataError(
            "The output folder already exists; nothing was overwritten.",
            where=str(path),
            remedy="Give another folder, or delete this one.",
        )
