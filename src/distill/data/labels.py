"""How many labels of each task a split holds, and of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from distill.data.candidate_columns import candidate_columns
from distill.data.checked_file import CheckedFile
from distill.data.checksums import FileChecksums
from distill.data.format import Dataset, Split, label_column
from distill.data.stream.columns import Array


@dataclass(frozen=True)
class LabelCounts:
    """The observed labels of a task in a split.

    Attributes:
        labelled: Candidates with a label.
        positives: Those whose label is above 0.
        lowest, highest: Of the labels; NaN without any.
    """

    labelled: int = 0
    positives: int = 0
    lowest: float = float("nan")
    highest: float = float("nan")

    @property
    def negatives(self) -> int:
        """Candidates whose label is not above 0."""
        return self.labelled - self.positives

    def __str__(self) -> str:
        return f"{self.labelled:,} labelled candidates, {self.positives:,} positive and {self.negatives:,} negative"


def label_counts(dataset: Dataset, split: Split) -> dict[str, LabelCounts]:
    """Counts the labels of every task of a split, once per dataset and process; reads the label columns alone.

    Raises:
        DataError: The split is empty, or a file of it cannot be read.
    """
    files = tuple((dataset.root / part.path, dataset.checksums(part)) for part in dataset.parts(split))
    return dict(_count(files, dataset.schema.task_names))


@lru_cache(maxsize=8)
def _count(
    files: tuple[tuple[Path, FileChecksums], ...], tasks: tuple[str, ...]
) -> tuple[tuple[str, LabelCounts], ...]:
    found = dict.fromkeys(tasks, LabelCounts())
    for path, checksums in files:
        for columns in candidate_columns(CheckedFile.open(path, checksums), [label_column(task) for task in tasks]):
            for task in tasks:
                labels = columns[label_column(task)]
                found[task] = _joined(found[task], labels[~np.isnan(labels)])
    return tuple(found.items())


def _joined(before: LabelCounts, labels: Array) -> LabelCounts:
    if labels.size == 0:
        return before
    return LabelCounts(
        before.labelled + labels.size,
        before.positives + int(np.count_nonzero(labels > 0)),
        float(np.fmin(before.lowest, labels.min())),
        float(np.fmax(before.highest, labels.max())),
    )
