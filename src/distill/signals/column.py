"""Signals that came with the data: scores of a production ranker, or those that the `score` job wrote."""

from __future__ import annotations

from collections.abc import Sequence

from distill.batch import Batch, TeacherSignals
from distill.errors import SignalError
from distill.signals.base import SignalSource


class ColumnSignals(SignalSource):
    """Passes on the signals that the reader found beside the data.

    Args:
        tasks: Names of the tasks that they score; None for all.
    """

    def __init__(self, tasks: Sequence[str] | None = None) -> None:
        super().__init__()
        self._tasks = None if tasks is None else tuple(tasks)

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Names of the tasks that the signals score; None for all."""
        return self._tasks

    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns `batch.signals`.

        Raises:
            SignalError: The batch was read without signals.
        """
        if batch.signals is None:
            raise SignalError(
                "The batch carries no teacher signals.",
                expected="teacher columns in the dataset, or a folder written by the score job",
                remedy="Declare `teacher` in the schema and prepare again, or run scripts/score.py.",
            )
        return batch.signals
