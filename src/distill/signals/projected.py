"""A teacher's logits in the odds of the log that a student learns from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill.signals.base import SignalSource
from distill.signals.mapped import MappedSignals


class ProjectedSignals(MappedSignals):
    """Adds ``log w_T - log w_S`` to the logits of another source, task by task.

    A model of a log that kept the share w of the negatives says z = logit(p) - log w of a p of the world. So a
    teacher of the rates w_T means the same as a student of the rates w_S by ``z_T + log w_T - log w_S``.

    Args:
        source: Gives the signals.
        shifts: What is added to the logits of each of the K tasks.

    Reference: the projection of a teacher through the student's sampling correction of "Rec-Distill", 2026,
    arXiv:2605.29755; for sampled negatives alone.
    """

    def __init__(self, source: SignalSource, shifts: Sequence[float]) -> None:
        super().__init__(source)
        self.shifts = tuple(shifts)

    @classmethod
    def of(cls, source: SignalSource, teacher: Sequence[float], student: Sequence[float]) -> SignalSource:
        """Projects a source from the log rates of its teacher to those of the student; itself if they are the same."""
        shifts = [own - other for own, other in zip(teacher, student, strict=True)]
        return cls(source, shifts) if any(shifts) else source

    def mapped(self, column: int, logits: Tensor) -> Tensor:
        """See `MappedSignals.mapped`."""
        return logits + self.shifts[column]
