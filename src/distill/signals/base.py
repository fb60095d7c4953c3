"""What every source of teacher signals does."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn
from typing_extensions import Self

from distill.batch import Batch, TeacherSignals


class SignalSource(nn.Module, ABC):
    """Gives the teacher's word on a batch, without gradient and always in evaluation mode."""

    @abstractmethod
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns the signals of all N candidates of a batch."""

    @property
    def model(self) -> nn.Module | None:
        """The model that runs in the step, None if there is none."""
        return None

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Names of the tasks that it scores; None for all."""
        return None

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode whatever `mode` says: a teacher has no dropout and fixed batch statistics."""
        return super().train(False)
