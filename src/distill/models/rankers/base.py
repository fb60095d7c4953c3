"""What all rankers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from distill.batch import Batch, RankerOutput


class Ranker(nn.Module, ABC):
    """A model that scores pairs jointly; nothing of it can be precomputed."""

    @abstractmethod
    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch."""
