"""A folder that jobs keep: what it is, how large, of what, and who uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from distill.files import is_temporary
from distill.in_use import mark_of, runs_of, user_of
from distill.places.manifest import OWN


@dataclass(frozen=True)
class Entry:
    """A folder that jobs keep.

    Attributes:
        kind: `dataset`, `teacher`, `control`, `signals` or `leftover`.
        name: Its path below the folder that is listed.
        path: Where it is.
        lock: The lock file of who writes it.
        bytes: Of all its files.
        used: When it was used last or, if nothing marked that, written; seconds since 1970.
        source: What it was made from, as far as it says.
        runs: The folders of the runs that used it, as far as they are known.
        holder: Which process writes or reads it now; empty if none does.
        foreign: A file in it that jobs do not write; empty if there is none.
    """

    kind: str
    name: str
    path: Path
    lock: Path
    bytes: int
    used: float
    source: str
    runs: tuple[str, ...] = ()
    holder: str = ""
    foreign: str = ""

    @property
    def kept_because(self) -> str:
        """Why it cannot be deleted; empty if it can."""
        if self.foreign:
            return f"{self.foreign} is not a file that jobs write"
        return self.holder


def entry_of(
    kind: str,
    path: Path,
    root: Path,
    lock: Path,
    source: str,
    patterns: tuple[str, ...],
    runs: tuple[str, ...] = (),
) -> Entry:
    """Measures a folder.

    Args:
        kind: See `Entry`.
        path: The folder.
        root: The folder that is listed.
        lock: See `Entry`.
        source: See `Entry`.
        patterns: Of the files that jobs write, by their paths from the folder; `*` matches `/` too.
        runs: That are known beside those that its mark names.
    """
    files = [*_files(path)]
    stats = [file.lstat() for file in files]
    names = [file.relative_to(path).as_posix() for file in files]
    mark = mark_of(path)
    used = mark.stat().st_mtime if mark.is_file() else max((s.st_mtime for s in stats), default=path.stat().st_mtime)
    return Entry(
        kind,
        path.relative_to(root).as_posix(),
        path,
        lock,
        sum(s.st_size for s in stats),
        used,
        source,
        tuple(dict.fromkeys(map(os.path.abspath, [*runs, *runs_of(path)]))),  # marks and records name them apart
        user_of(path, lock) or "",
        next((name for name, file in zip(names, files, strict=True) if not _is_known(file, name, patterns)), ""),
    )


def folders(root: Path) -> Iterator[Path]:
    """Yields the folders of a folder, in order; no links, which lead elsewhere."""
    if root.is_dir():
        yield from sorted(p for p in root.iterdir() if not p.is_symlink() and p.is_dir())


def _files(path: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(path):
        links = [name for name in below if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*names, *links])


def _is_known(file: Path, name: str, patterns: tuple[str, ...]) -> bool:
    if file.is_symlink():
        return False
    unfinished = any(is_temporary(part) for part in (Path(part) for part in Path(name).parts))
    return unfinished or name in OWN or any(fnmatchcase(name, pattern) for pattern in patterns)
