"""Which split each file belongs to, by patterns or by the order of names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from distill.data.prepare.assigners import TEST, TRAIN, VAL
from distill.data.split import FileSplit
from distill.errors import ConfigError


def file_codes(paths: Sequence[Path], rule: FileSplit) -> tuple[int, ...]:
    """Returns the index into `SPLITS` of each file.

    Raises:
        ConfigError: A pattern fits no file, a file is of both splits, or none is left for train.
    """
    codes: dict[Path, int] = {}
    sides = [(TEST, "test", rule.test), (VAL, "val", rule.val)]
    for code, name, value in sides:
        if value is not None and not isinstance(value, int):
            for pattern in [value] if isinstance(value, str) else value:
                _take(codes, code, _matching(paths, pattern, f"data.adapter.split.{name}"), name)
    for code, name, value in sides:
        if isinstance(value, int):
            left = sorted((path for path in paths if path not in codes), key=_natural)
            if value >= len(left):
                raise ConfigError(
                    "There are too few files.",
                    where=f"data.adapter.split.{name}",
                    expected="fewer than there are, so that train has some",
                    found=f"{value} of {len(left)} files",
                )
            codes |= dict.fromkeys(left[-value:], code)
    if len(codes) == len(paths):
        raise ConfigError(
            "No file is left for train.",
            where="data.adapter.split",
            found=f"val={rule.val}, test={rule.test} of {len(paths)} files",
        )
    return tuple(codes.get(path, TRAIN) for path in paths)


def _natural(path: Path) -> list[tuple[str | int, ...]]:
    """Orders paths by their parts, and numbers in these by their value: day 9 is before day 10."""
    return [
        tuple(int(w) if w.isdecimal() else w for w in re.split(r"(\d+)", part, flags=re.ASCII)) for part in path.parts
    ]


def _take(codes: dict[Path, int], code: int, paths: Sequence[Path], name: str) -> None:
    for path in paths:
        if codes.setdefault(path, code) != code:
            raise ConfigError(
                "A file is in two splits.",
                where=f"data.adapter.split.{name}",
                expected="patterns of val and test that have no file in common",
                found=str(path),
            )


def _matching(paths: Sequence[Path], pattern: str, where: str) -> list[Path]:
    """Returns the files that a pattern fits, or fits a folder of that not all files are in."""
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    found = [path for path in paths if any(part.match(pattern) for part in _below(path, shared))]
    if not found:
        raise ConfigError(
            "No file matches this pattern.",
            where=where,
            expected="the end of the path of a file, or of a folder above it, such as 'day=11' or '*.val.csv'",
            found=repr(pattern),
            remedy=f"The first file is {paths[0]}.",
        )
    return found


def _below(path: Path, shared: Path) -> list[PurePath]:
    return [path, *(folder for folder in path.parents if folder != shared and shared in folder.parents)]
