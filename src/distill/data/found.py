"""Which files of a folder or a pattern are read, and which are left out and why."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from distill.data.file_kind import KNOWN_FILES, file_kind
from distill.data.table_formats import open_table, table_named
from distill.errors import DataError

HIDDEN = "hidden: a name that starts with . or _"
UNKNOWN = "no kind that is read"
CATALOGUE = "the catalogue"
OWN = "written here: prepared data, signals, a bundle or its items"
_SHOWN = 5
# What lies together in a folder that one of the commands wrote.
_OWN_FILES = (
    ("manifest.json", "schema.yaml"),
    ("provenance.json", "train"),
    ("model.json", "golden.parquet"),
    ("items.json", "items.parquet"),
    ("features.json", "items.parquet"),
)


@dataclass(frozen=True)
class FilesFound:
    """The files of a source.

    Attributes:
        read: Those that are read, in order; a table at its version is one of them.
        left_out: Reason to the files that are not.
    """

    read: tuple[Path, ...]
    left_out: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, int]:
        """Kind of file to the number of files of it that are read."""
        found = Counter(kind.name for path in self.read if (kind := file_kind(path)) is not None)
        return dict(sorted(found.items()))

    def notes(self, root: Path) -> list[str]:
        """Says in a line each what was left out (named from `root`), and that kinds are mixed."""
        lines = []
        if len(self.kinds) > 1:
            mixed = ", ".join(f"{number:,} {kind}" for kind, number in self.kinds.items())
            lines.append(f"{root} mixes kinds of files, and all are read: {mixed}.")
        for reason, paths in self.left_out.items():
            names = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths[:_SHOWN]]
            more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
            files = "1 file was" if len(paths) == 1 else f"{len(paths):,} files were"
            lines.append(f"{files} not read ({reason}): {', '.join(names)}{more}.")
        return lines


def find_all(sources: Sequence[str], where: str, catalogue: Path | None = None) -> FilesFound:
    """Finds the files of several sources, each once, in the order of the sources and of their names.

    Args:
        sources: Files, folders and patterns.
        where: The key of the config, for errors.
        catalogue: See `find_files`.

    Raises:
        DataError: One has none.
    """
    found = []
    for source in sources:
        path = str(Path(source).expanduser())
        of_source = find_files(path, catalogue)
        if not of_source.read:
            raise DataError(
                "There are no data files.",
                where=path,
                expected=f"a file, a folder or a glob pattern of files: {KNOWN_FILES}; a Delta or Iceberg table",
                found="; ".join(of_source.notes(source_root(path)))
                or ("a folder without any" if Path(path).is_dir() else "no match"),
                remedy=f"Check {where}.",
            )
        found.append(of_source)
    return together(found)


def each_match(sources: Sequence[str]) -> tuple[str, ...]:
    """Returns what sources match, each once, in the order of the sources and of their names.

    A table at a version (`FOLDER@VERSION`) is no pattern: it stands for itself.

    Args:
        sources: Files, folders, tables and patterns of such.

    Raises:
        DataError: They match nothing.
    """
    paths = [str(Path(source).expanduser()) for source in sources]
    named = ([path] if table_named(Path(path)) is not None else sorted(glob.glob(path)) for path in paths)  # noqa: PTH207
    found = tuple(dict.fromkeys(match for one in named for match in one))
    if not found:
        raise DataError(
            "Nothing matches.",
            where="data.source",
            expected="a file, a folder, a pattern, or a Delta or Iceberg table (FOLDER@VERSION without wildcards)",
            found=", ".join(paths),
        )
    return found


def together(found: Sequence[FilesFound]) -> FilesFound:
    """Joins what several sources hold: each file once, also one that has several names."""
    if len(found) == 1:
        return found[0]
    read: dict[str, Path] = {}
    for file in (file for one in found for file in one.read):
        read.setdefault(os.path.realpath(file), file)
    left_out: dict[str, dict[Path, None]] = {}
    for reason, files in ((reason, files) for one in found for reason, files in one.left_out.items()):
        others = {file: None for file in files if os.path.realpath(file) not in read}
        left_out[reason] = {**left_out.get(reason, {}), **others}
    return FilesFound(tuple(read.values()), {reason: tuple(left_out[reason]) for reason in sorted(left_out)})


def sources_root(sources: Sequence[str]) -> Path:
    """Returns the folder that the names of files of several sources are told from."""
    roots = [source_root(str(Path(source).expanduser())) for source in sources]
    return roots[0] if len(roots) == 1 else Path(os.path.commonpath([root.absolute() for root in roots]))


def source_root(source: str) -> Path:
    """Returns the folder that names are told from: the source itself, or what stands before its first wildcard."""
    path = Path(source)
    if path.is_dir():
        return path
    fixed = Path()
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def find_files(source: str, catalogue: Path | None = None) -> FilesFound:
    """Finds the files of a source.

    Files and folders whose name starts with `.` or `_` are left out, as Arrow, Spark, pandas and DuckDB do: copies of
    editors, unfinished and deleted data lie there. A source that names one itself gets it. So are folders below the
    source that a command of this package wrote: who works in the folder of the logs would read them as logs. Tables of
    Delta Lake and Iceberg are found as they are now, or at the version behind an @ of the source; what else lies in
    their folders is not data.

    Args:
        source: A file, a folder (all below it), a table, or a pattern of files and folders.
        catalogue: A file or table that is read otherwise.

    Raises:
        ConfigError: The package that reads a table is not installed.
        DataError: A table cannot be read, or a pattern names what lies in one.
    """
    path = Path(source)
    if path.is_file() or table_named(path) is not None:
        return FilesFound((_at_version(path),))
    root, named = source_root(source), set(path.parts)
    skip = _place(catalogue) if catalogue is not None else None
    read: list[Path] = []
    left_out: dict[str, list[Path]] = {}
    is_own = cache(_is_own)
    for file in sorted(set(_files(path))):
        reason = _reason(file, root, named, skip)
        if reason in (None, UNKNOWN) and any(is_own(folder) for folder in _between(file, root)):
            reason = OWN
        if reason:
            left_out.setdefault(reason, []).append(file)
        else:
            read.append(_at_version(file))
    return FilesFound(tuple(read), {reason: tuple(files) for reason, files in sorted(left_out.items())})


def _files(path: Path) -> Iterator[Path]:
    """Returns the files of a folder or a pattern, and in place of those of a table the folder of the table."""
    tops = [path] if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
    table_of = cache(table_named)
    for top in tops:
        _check_whole(top)
        for file in (file for file in top.rglob("*") if file.is_file()) if top.is_dir() else [top]:
            folders = (folder for folder in file.parents if folder.is_relative_to(top))
            yield next((folder for folder in folders if table_of(folder) is not None), file)


def _check_whole(top: Path) -> None:
    """Raises DataError if what a source names lies in a table."""
    table = next(filter(None, map(table_named, top.absolute().parents)), None)
    if table is not None:
        raise DataError(
            f"The path names only a part of a {table.format} table.",
            where=str(top),
            expected="the whole table: its folder also holds files whose rows are deleted or replaced",
            found=f"a file or folder in {table.path}",
            remedy=f"Name {table.path}; what its folders name is a column that a split or a field can go by.",
        )


def _at_version(path: Path) -> Path:
    """Returns the path that names a table at its version, the newest if none is given; a file stays."""
    table = table_named(path)
    return path if table is None else open_table(table).name.pinned


def _place(path: Path) -> Path:
    table = table_named(path)
    return (path if table is None else table.path).resolve()


def _between(file: Path, root: Path) -> Iterator[Path]:
    """Returns the folders of a file that lie below the root."""
    return (folder for folder in file.parents if folder.is_relative_to(root) and folder != root)


def _is_own(folder: Path) -> bool:
    return any(all((folder / name).exists() for name in together) for together in _OWN_FILES)


def _reason(file: Path, root: Path, named: set[str], catalogue: Path | None) -> str | None:
    """Says why a file is left out, None if it is read."""
    below = file.relative_to(root).parts if file.is_relative_to(root) else file.parts
    if any(part.startswith((".", "_")) and part not in named for part in below):
        return HIDDEN
    if catalogue is not None and _place(file) == catalogue:
        return CATALOGUE
    return None if file_kind(file) else UNKNOWN
