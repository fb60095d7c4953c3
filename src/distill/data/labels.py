"""How many labels of each task a split holds, and of which kind, as they were counted when it was prepared."""

from __future__ import annotations

from dataclasses import dataclass

from distill.data.contents import LabelNumbers
from distill.data.format import Dataset, Split
from distill.errors import DataError


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

    @classmethod
    def of(cls, numbers: LabelNumbers) -> LabelCounts:
        """Takes over what the manifest says."""
        low, high = (float("nan") if value is None else value for value in (numbers.low, numbers.high))
        return cls(numbers.labelled, numbers.positive, low, high)

    @property
    def negatives(self) -> int:
        """Candidates whose label is not above 0."""
        return self.labelled - self.positives

    def __str__(self) -> str:
        return f"{self.labelled:,} labelled candidates, {self.positives:,} positive and {self.negatives:,} negative"


def label_counts(dataset: Dataset, split: Split) -> dict[str, LabelCounts]:
    """Returns the counts of every task of a split; no data is read.

    Raises:
        DataError: The split is empty, or the manifest does not say what it holds.
    """
    dataset.parts(split)
    contents = dataset.manifest.contents
    if contents is None:
        raise DataError(
            "The manifest does not say which labels there are.",
            where=str(dataset.root),
            remedy="Prepare the data again.",
        )
    labels = contents.splits[split].labels
    return {task: LabelCounts.of(labels[task]) for task in dataset.schema.task_names}
