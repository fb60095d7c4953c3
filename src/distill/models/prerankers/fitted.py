"""Models that are fitted to the data in one pass, without gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from distill.batch import Batch
from distill.models.prerankers.base import SplitPreRanker


class FittedPreRanker(SplitPreRanker):
    """A pre-ranker without weights to train: the job fits it instead of training it."""

    @abstractmethod
    def fit(self, batches: Iterable[Batch]) -> None:
        """Fits to the training split.

        Args:
            batches: Each row once; with several processes, those of this one. All processes call it together.
        """
