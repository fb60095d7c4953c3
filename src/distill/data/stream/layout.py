"""Which columns are read for a view of the schema, and where each of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from distill.data.format import (
    Dataset,
    Split,
    arrow_schema,
    hidden_column,
    label_column,
    teacher_column,
    value_column,
)
from distill.data.stream.signals import DATASET, Sidecar, open_sidecar
from distill.errors import SignalError
from distill.schema import HiddenColumn, Kind, Schema, Side


@dataclass(frozen=True)
class SideLayout:
    """Fields of one side, in the order of `FeatureBlock`.

    Ids and sequences come with the sizes of their tables (None if not known), vectors and sequences of vectors with
    their widths.
    """

    ids: dict[str, int | None]
    numbers: tuple[str, ...]
    vectors: dict[str, int]
    sequences: dict[str, int | None]
    vector_lists: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: Schema, side: Side) -> SideLayout:
        """Sorts the fields of a side by what one value of them is."""
        fields = schema.side(side)
        return cls(
            ids={f.name: f.size for f in fields if f.is_id},
            numbers=tuple(f.name for f in fields if f.is_number),
            vectors={f.name: f.width or 0 for f in fields if f.kind is Kind.VECTOR},
            sequences={f.name: f.size for f in fields if f.is_sequence and not f.has_vectors},
            vector_lists={f.name: f.width or 0 for f in fields if f.kind is Kind.VECTORS},
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
        carried: The first of them, which batches carry as their columns: all but one that is the row weight alone.
        weight: Position of the row weight among the values; None if all rows count alike.
        teacher: Whether teacher signals are in the part files.
        sidecar: Teacher signals in files of their own.
        logits: Columns of the signals, by task; None for a task that they do not score.
        hidden: Hidden vectors of the signals that are read, with their widths.
        checked: Whether what is read is compared with its checksums and the tables; a benchmark shows what that costs.
    """

    nested: bool
    columns: pa.Schema
    sides: dict[Side, SideLayout]
    labels: tuple[str, ...]
    values: tuple[str, ...]
    carried: tuple[str, ...] = ()
    weight: int | None = None
    teacher: bool = False
    sidecar: Sidecar | None = None
    logits: tuple[str | None, ...] = ()
    hidden: dict[str, int] = field(default_factory=dict)
    checked: bool = True

    @property
    def has_signals(self) -> bool:
        """Whether batches carry teacher signals."""
        return self.teacher or self.sidecar is not None

    @property
    def unscored(self) -> tuple[int, ...]:
        """Positions of the tasks that the signals do not score."""
        return tuple(position for position, name in enumerate(self.logits) if name is None)


def read_layout(
    dataset: Dataset, view: Schema, split: Split, signals: str | None, hidden: Sequence[str] | None = None
) -> ReadLayout:
    """Finds the columns to read.

    Args:
        dataset: The dataset.
        view: Its schema or a part of it, such as `schema.serving_view()`; fields that it lacks are not read.
        split: Which split.
        signals: None, `dataset` for the teacher columns of the part files, or a folder of aligned signal files.
        hidden: Names of the hidden vectors of the signals that are read; all if None.

    Raises:
        SignalError: The signals asked for are not there, lack a task or a hidden vector, or do not belong to the
            dataset.
    """
    logits: tuple[str | None, ...] = ()
    vectors: dict[str, int] = {}
    sidecar = None
    if signals == DATASET:
        logits = _teacher_columns(dataset, view)
        vectors = _wanted({name: spec.width for name, spec in _hidden(view).items()}, hidden, dataset.root)
    elif signals is not None:
        logits = tuple(map(teacher_column, view.task_names))
        sidecar = open_sidecar(dataset, view.task_names, split, Path(signals))
        vectors = _wanted(sidecar.hidden, hidden, Path(signals))
        sidecar = sidecar.with_hidden(vectors)
    read = {*logits, *map(hidden_column, vectors)} if signals == DATASET else set()
    skipped = {*map(teacher_column, view.task_names), *map(hidden_column, _hidden(view))} - read
    columns = pa.schema([column for column in arrow_schema(view, split) if column.name not in skipped])
    values = tuple(name for name in view.value_columns if value_column(name) in columns.names)
    own = {*view.score.columns, *(() if split == "train" else view.evaluation)}
    return ReadLayout(
        nested=view.layout == "requests",
        columns=columns,
        sides={side: SideLayout.of(view, side) for side in Side},
        labels=tuple(label_column(task) for task in view.task_names),
        values=values,
        carried=tuple(name for name in values if name in own),
        weight=None if view.weight is None else values.index(view.weight.column),
        teacher=signals == DATASET,
        sidecar=sidecar,
        logits=logits,
        hidden=vectors,
    )


def _teacher_columns(dataset: Dataset, view: Schema) -> tuple[str | None, ...]:
    if not view.logged_tasks:
        raise SignalError(
            "The dataset holds no teacher scores.",
            where=str(dataset.root),
            expected=f"teacher columns of {', '.join(view.task_names)}, or of some of them",
            found="none",
            remedy="Declare the production ranker's columns under `teacher` in the schema, "
            "or score the data with a trained teacher.",
        )
    return tuple(teacher_column(task) if task in view.logged_tasks else None for task in view.task_names)


def _hidden(view: Schema) -> dict[str, HiddenColumn]:
    return (view.teacher.hidden or {}) if view.teacher is not None else {}


def _wanted(known: dict[str, int], names: Sequence[str] | None, where: Path) -> dict[str, int]:
    """Takes the wanted of the hidden vectors that there are."""
    missing = [name for name in names or () if name not in known]
    if missing:
        raise SignalError(
            "The teacher signals lack a hidden vector.",
            where=str(where),
            expected=", ".join(missing),
            found=", ".join(known) or "none",
        )
    return known if names is None else {name: known[name] for name in names}
