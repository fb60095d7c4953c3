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


class FieldNumbers(_Model):
    """Values of a field in a split.

    Attributes:
        rows: Requests or candidates, whichever the field describes.
        missing: Rows without a value, or with a list of which a value is missing.
        values: Values that are there; of sequences, those of all lists.
        unknown: Values that the encoding does not know: not in the training split, too rare there, or out of range.
        constant: Whether all rows have the same value once encoded; never said of vectors and sequences.
    """

    rows: int = 0
    missing: int = 0
    values: int = 0
    unknown: int = 0
    constant: bool = False


class TimeRange(_Model):
    """Times of the raw rows of a split.

    Attributes:
        first, last: As in the raw data, dates and timestamps in ISO 8601; null if there is none.
        missing: Rows without a time.
        unreadable: Whether some are not times; then `first` and `last` are not known.
    """

    first: str | None = None
    last: str | None = None
    missing: int = 0
    unreadable: bool = False


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
        rows: Raw rows.
        requests: Requests; rows in flat data.
        candidates: Candidates that were written.
        without_candidates: Requests without any.
        without_user: Requests without a user, of a schema that names users.
        without_item: Candidates without an item key, of a schema that names items.
        time: Of its raw rows; null if the schema names no time.
        duplicates: Candidates that are in their request twice; not looked for in flat data.
        labels: Task to its labels.
        fields: Field to its values.
    """

    rows: int = 0
    requests: int = 0
    candidates: int = 0
    without_candidates: int = 0
    without_user: int = 0
    without_item: int = 0
    time: TimeRange | None = None
    duplicates: Duplicates = Duplicates()
    labels: dict[str, LabelNumbers]
    fields: dict[str, FieldNumbers] = {}


class FilesRead(_Model):
    """Raw files.

    Attributes:
        count: How many.
        rows: In all of them.
        bytes: Of all of them.
        names: Of the first 20, without their folders.
        left_out: Reason to the number of files of the source that were not read for it.
    """

    count: int
    rows: int
    bytes: int
    names: tuple[str, ...]
    left_out: dict[str, int] = {}


class Contents(_Model):
    """What preparation met in the raw data.

    Attributes:
        files: What was read.
        splits: Split (train, val, test) to what it is made of.
    """

    files: FilesRead
    splits: dict[str, SplitContents]
