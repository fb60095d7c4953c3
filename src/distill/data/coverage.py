"""How much a teacher says of the training split, and how it compares with the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.format import STAGE, Dataset, TeacherNumbers, label_column, teacher_column
from distill.data.prepare.meter import TeacherMeter
from distill.data.stream.columns import Array, unreadable


def teacher_numbers(dataset: Dataset, tasks: Sequence[str], folder: Path | None) -> dict[str, TeacherNumbers]:
    """Returns what a teacher says of the training split.

    Args:
        dataset: The dataset.
        tasks: Tasks that the teacher scores.
        folder: Of its signals, which are read for it; None for the scores in the dataset, which were looked at when it
            was prepared and are read only if it was prepared by a version that did not.

    Returns:
        Task to its numbers.

    Raises:
        DataError: A file cannot be read.
    """
    if folder is None and dataset.manifest.teacher is not None:
        return {task: dataset.manifest.teacher[task] for task in tasks}
    meters = {task: TeacherMeter(dataset.schema.teacher if folder is None else None) for task in tasks}
    for part in dataset.parts("train"):
        path = dataset.root / part.path
        beside = path if folder is None else folder / "train" / path.name
        targets = _columns(path, [STAGE, *map(label_column, tasks)])
        signals = _columns(beside, [teacher_column(task) for task in tasks])
        for target, signal in zip(targets, signals, strict=True):
            for task, meter in meters.items():
                meter.add(signal[teacher_column(task)], target[label_column(task)], target[STAGE])
    return {task: meter.result() for task, meter in meters.items()}


def _columns(path: Path, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
    """Yields some columns of a file, one value per candidate, row group by row group."""
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(names))
                yield {name: _flat(table.column(name)) for name in names}
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def _flat(column: pa.ChunkedArray) -> Array:
    array = column.combine_chunks()
    values: Array = (array.flatten() if pa.types.is_list(array.type) else array).to_numpy(zero_copy_only=False)
    return values
