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


class SplitContents(_Model):
    """One split.

    Attributes:
        labels: Task to its labels.
    """

    labels: dict[str, LabelNumbers]


class Contents(_Model):
    """What preparation met in the raw data.

    Attributes:
        splits: Split (train, val, test) to what it is made of.
    """

    splits: dict[str, SplitContents]
