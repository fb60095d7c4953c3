"""Which columns are read for a view of the schema, and where each of them goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from distill.data.format import Dataset, Split, arrow_schema, field_column, label_column, teacher_column, value_column
from distill.data.stream.signals import DATASET, Sidecar, open_sidecar
from distill.errors import SignalError
from distill.schema import Kind, Schema, Side


@dataclass(frozen=True)
class SideLayout:
    """Fields of one side, in the order of `FeatureBlock`; vectors with their widths."""

    ids: tuple[str, ...]
    numbers: tuple[str, ...]
    vectors: dict[str, int]
    sequences: tuple[str, ...]

    @classmethod
    def of(cls, schema: Schema, side: Side) -> SideLayout:
        """Sorts the fields of a side by what one value of them is."""
        fields = schema.side(side)
        return cls(
            ids=tuple(f.name for f in fields if f.is_id),
            numbers=tuple(f.name for f in fields if f.is_number),
            vectors={f.name: f.width or 0 for f in fields if f.kind is Kind.VECTOR},
            sequences=tuple(f.name for f in fields if f.kind is Kind.SEQUENCE),
        )


@dataclass(frozen=True)
class ReadLayout:
    """What the stream reads of a split.

    Attributes:
        nested: Whether a row is a request and candidate columns are lists.
        columns: Columns of the part files that are read, with their types.
        sides: Fields of each side.
        labels: Label columns, by task.
        values: Raw names of the value columns.
        teacher: Teacher columns of the part files, by task; empty without signals in the dataset.
        sidecar: Teacher signals in files of their own.
    """

    nested: bool
    columns: pa.Schema
    sides: dict[Side, SideLayout]
    labels: tuple[str, ...]
    values: tuple[str, ...]
    teacher: tuple[str, ...]
    sidecar: Sidecar | None = field(default=None)

    @property
    def has_signals(self) -> bool:
        """Whether batches carry teacher signals."""
        return bool(self.teacher) or self.sidecar is not None


def read_layout(dataset: Dataset, view: Schema, split: Split, signals: str | None) -> ReadLayout:
    """Finds the columns to read.

    Args:
        dataset: The dataset.
        view: Its schema or a part of it, such as `schema.serving_view()`; fields that it lacks are not read.
        split: Which split.
        signals: None, `dataset` for the teacher columns of the part files, or a folder of aligned signal files.

    Raises:
        SignalError: The signals asked for are not there, lack a task or do not belong to the dataset.
    """
    teacher: tuple[str, ...] = ()
    sidecar = None
    if signals == DATASET:
        teacher = _teacher_columns(dataset, view)
    elif signals is not None:
        sidecar = open_sidecar(dataset, view.task_names, split, Path(signals))
    available = arrow_schema(view, split)
    skipped = set() if teacher else {teacher_column(t) for t in view.task_names}
    columns = pa.schema([column for column in available if column.name not in skipped])
    return ReadLayout(
        nested=view.layout == "requests",
        columns=columns,
        sides={side: SideLayout.of(view, side) for side in Side},
        labels=tuple(label_column(task) for task in view.task_names),
        values=tuple(name for name in view.value_columns if value_column(name) in columns.names),
        teacher=teacher,
        sidecar=sidecar,
    )


def feature_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of fields."""
    return tuple(field_column(name) for name in names)


def _teacher_columns(dataset: Dataset, view: Schema) -> tuple[str, ...]:
    scored = set(view.teacher.columns) if view.teacher else set()
    missing = [task for task in view.task_names if task not in scored]
    if missing:
        raise SignalError(
            "The dataset does not hold a teacher score for every task.",
            where=str(dataset.root),
            expected=f"teacher columns of {', '.join(view.task_names)}",
            found=", ".join(sorted(scored)) or "none",
            remedy="Declare the production ranker's columns under `teacher` in the schema, "
            "or score the data with a trained teacher.",
        )
    return tuple(teacher_column(task) for task in view.task_names)
