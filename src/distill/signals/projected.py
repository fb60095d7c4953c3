"""A teacher's logits in the odds of the log that a student learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from distill.batch import Batch, TeacherSignals
from distill.signals.base import SignalSource


class ProjectedSignals(SignalSource):
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
        super().__init__()
        self.source = source
        self.shifts = tuple(shifts)

    @classmethod
    def of(cls, source: SignalSource, teacher: Sequence[float], student: Sequence[float]) -> SignalSource:
        """Projects a source from the log rates of its teacher to those of the student; itself if they are the same."""
        shifts = [own - other for own, other in zip(teacher, student, strict=True)]
        return cls(source, shifts) if any(shifts) else source

    @property
    def model(self) -> nn.Module | None:
        """The model of the source."""
        return self.source.model

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """The tasks that the source scores."""
        return self.source.tasks

    @torch.no_grad()
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns the projected signals; rows that are not valid stay 0."""
        signals: TeacherSignals = self.source(batch)
        logits = signals.logits.clone()
        for column, shift in enumerate(self.shifts):
            logits[:, column] = torch.where(signals.valid, logits[:, column] + shift, logits[:, column])
        return replace(signals, logits=logits)
