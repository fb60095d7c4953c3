"""What preparation met in the raw data, split by split: the part of a manifest that says what a dataset is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelNumbers(_Model):
    """Labels of a task in a split.

    Attributes:
        candidates: Of the split.
        labelled: Those with an observed label.
        positive: Those with an observed label above 0.
        low, mean, high: Of the observed labels; null without any.
    """

    candidates: int = 0
    labelled: int = 0
    positive: int = 0
    low: float | None = None
    mean: float | None = None
    high: float | None = None


class RepeatedCandidate(_Model):
    """An example: the raw values of the request and of the item that is in it twice."""

    request: str
    item: str


class Duplicates(_Model):
    """Candidates whose item is in their request before, as they were in the raw data.

    Attributes:
        candidates: How many; of three with the same item in a request, two.
        other_label: Those with another label than the first of their request and item, both observed.
        examples: The first few.
    """

    candidates: int = 0
    other_label: int = 0
    examples: tuple[RepeatedCandidate, ...] = ()


class SplitContents(_Model):
    """One split.

    Attributes:
        duplicates: Candidates that are in their request twice; not looked for in flat data.
        labels: Task to its labels.
    """

    duplicates: Duplicates = Duplicates()
    labels: dict[str, LabelNumbers]


class Contents(_Model):
    """What preparation met in the raw data.

    Attributes:
        splits: Split (train, val, test) to what it is made of.
    """

    splits: dict[str, SplitContents]
