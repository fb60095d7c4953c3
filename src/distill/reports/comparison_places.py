"""Where the runs of a comparison are, in few words: their names below the folder that they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from distill.reports.compare import Row

_SHARED = ("teacher", "control")  # of several runs, in a cache


def folder_names(rows: Sequence[Row]) -> tuple[str, dict[str, str]]:
    """Returns the folder that all runs are in, and each run folder's path below it; nothing of runs of no folder."""
    folders = list(dict.fromkeys(run.folder for row in rows for run in row.runs if run.folder))
    if not folders:
        return "", {}
    root = Path(os.path.commonpath([Path(folder).absolute().parent for folder in folders]))
    return str(root), {folder: str(Path(folder).absolute().relative_to(root)) for folder in folders}


def places_line(rows: Sequence[Row]) -> str:
    """Says in which folder the runs are, and where in them the best checkpoint is; empty if not known."""
    root, _ = folder_names(rows)
    if not root:
        return ""
    runs = [run for row in rows if row.role not in _SHARED for run in row.runs]
    below = {_below(run.checkpoint, run.folder) for run in runs if run.checkpoint}
    best = f"; the best checkpoint of each: {below.pop()}" if len(below) == 1 else ""
    return f"Runs: folders in {root}{best}."


def names_of(row: Row, rows: Sequence[Row]) -> str:
    """Names the run folders of a row; empty of a teacher or control, which runs share."""
    _, short = folder_names(rows)
    return "" if row.role in _SHARED else ", ".join(short[run.folder] for run in row.runs if run.folder in short)


def _below(path: str, folder: str) -> str:
    inside = Path(path).is_relative_to(folder)
    return str(Path(path).relative_to(folder)) if inside else path
