"""How much a teacher says of the training split, and how it compares with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.data.candidate_columns import candidate_columns
from distill.data.format import STAGE, Dataset, TeacherNumbers, label_column, teacher_column
from distill.data.prepare.meter import TeacherMeter
from distill.data.stream.signals import open_signals


def teacher_numbers(dataset: Dataset, tasks: Sequence[str], folder: Path | None) -> dict[str, TeacherNumbers]:
    """Returns what a teacher says of the training split.

    Args:
        dataset: The dataset.
        tasks: Tasks that the teacher scores.
        folder: Of its signals, which are read for it; None for the scores in the dataset, which were looked at when it
            was prepared.

    Returns:
        Task to its numbers.

    Raises:
        DataError: A file cannot be read.
    """
    if folder is None:
        return {task: dataset.manifest.teacher[task] for task in tasks}
    meters = {task: TeacherMeter(None) for task in tasks}
    files = [dataset.open(part) for part in dataset.parts("train")]
    others = open_signals(folder / "train", [file.path.name for file in files])
    for file, beside in zip(files, others, strict=True):
        targets = candidate_columns(file, [STAGE, *map(label_column, tasks)])
        signals = candidate_columns(beside, [teacher_column(task) for task in tasks])
        for target, signal in zip(targets, signals, strict=True):
            for task, meter in meters.items():
                meter.add(signal[teacher_column(task)], target[label_column(task)], target[STAGE])
    return {task: meter.result() for task, meter in meters.items()}
