"""Signals of another source whose logits mean something else here."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch, TeacherSignals
from distill.signals.base import SignalSource


class MappedSignals(SignalSource):
    """Changes the logits of another source, task by task.

    Args:
        source: Gives the signals.
    """

    def __init__(self, source: SignalSource) -> None:
        super().__init__()
        self.source = source

    @property
    def model(self) -> nn.Module | None:
        """The model of the source."""
        return self.source.model

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """The tasks that the source scores."""
        return self.source.tasks

    @abstractmethod
    def mapped(self, column: int, logits: Tensor) -> Tensor:
        """Returns what stands for the logits `[N]` of a task, given by its position."""

    @torch.no_grad()
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns the signals with other logits; rows that are not valid stay as they are."""
        signals: TeacherSignals = self.source(batch)
        logits = signals.logits.clone()
        for column in range(logits.shape[1]):
            logits[:, column] = torch.where(signals.valid, self.mapped(column, logits[:, column]), logits[:, column])
        return replace(signals, logits=logits)
