"""Scores of a ranker beside files of graded documents: a number a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.errors import DataError


def scores_file(path: Path, suffix: str) -> Path:
    """Returns the file of the scores of a file of documents.

    Raises:
        DataError: There is none.
    """
    file = path.with_name(path.name + suffix)
    if not suffix or not file.is_file():
        raise DataError(
            "The file of a ranker's scores does not exist.",
            where=str(file),
            expected=f"a number for each line of {path.name}",
            remedy="Write the file there, or leave out data.adapter.scores.",
        )
    return file


def read_scores(path: Path, suffix: str, lines: int) -> NDArray[np.float64]:
    """Reads the scores of so many documents `[lines]`.

    Raises:
        DataError: There are more or fewer, or one is not a finite number.
    """
    file = scores_file(path, suffix)
    try:
        scores = np.array(file.read_bytes().split(), np.float64)
    except ValueError as error:
        raise DataError("A score is not a number.", where=str(file), found=str(error)) from error
    if len(scores) != lines:
        raise DataError(
            "The number of scores differs from the number of documents.",
            where=str(file),
            expected=f"{lines} numbers, one for each line of {path.name}",
            found=str(len(scores)),
        )
    if not np.isfinite(scores).all():
        line = int(np.flatnonzero(~np.isfinite(scores))[0]) + 1
        raise DataError("A score is not finite.", where=f"{file}:{line}", found=str(scores[line - 1]))
    return scores
