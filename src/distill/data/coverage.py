"""How much a teacher says of the training split, and how it compares with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.data.candidate_columns import candidate_columns
from distill.data.format import STAGE, Dataset, TeacherNumbers, label_column, teacher_column
from distill.data.prepare.meter import TeacherMeter


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
        targets = candidate_columns(path, [STAGE, *map(label_column, tasks)])
        signals = candidate_columns(beside, [teacher_column(task) for task in tasks])
        for target, signal in zip(targets, signals, strict=True):
            for task, meter in meters.items():
                meter.add(signal[teacher_column(task)], target[label_column(task)], target[STAGE])
    return {task: meter.result() for task, meter in meters.items()}
