"""Signals of a frozen model that runs within the training step."""

from __future__ import annotations

import torch
from torch import nn

from distill.batch import Batch, RankerOutput, TeacherSignals
from distill.signals.base import SignalSource


class CheckpointSignals(SignalSource):
    """Runs a frozen teacher on every batch: no gradient, evaluation mode.

    Args:
        model: The teacher, with its trained weights.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.frozen = model.requires_grad_(False)
        self.train(False)

    @property
    def model(self) -> nn.Module:
        """The teacher."""
        return self.frozen

    @torch.no_grad()
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns logits and hidden vectors; every row is valid."""
        output: RankerOutput = self.frozen(batch)
        valid = torch.ones(batch.num_candidates, dtype=torch.bool, device=output.logits.device)
        return TeacherSignals(output.logits.float(), valid, output.hidden)
