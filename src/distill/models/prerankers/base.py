"""The split contract of pre-rankers: export, cost and serving follow from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, RankerOutput
from distill.serving.manifest import Interaction


class PreRanker(nn.Module, ABC):
    """A cheap scorer; it is built from the serving view of a schema and never sees privileged fields.

    Attributes:
        precomputable: Which of `request` and `candidate` vectors depend on their own side alone and may be computed
            ahead and stored; empty if everything is computed online.
    """

    precomputable: ClassVar[frozenset[str]] = frozenset()

    @property
    def penalises_rows(self) -> bool:
        """Whether training adds a penalty over labelled rows, which it must see then: no."""
        return False

    def in_parts(self) -> SplitPreRanker | None:
        """Returns the trained model as one in three parts with the same logits, which is cheaper to serve; None if it
        has none, or is one already."""
        return None

    @abstractmethod
    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch."""


class SplitPreRanker(PreRanker):
    """A pre-ranker in three parts: the vectors of each side, and what combines them online."""

    precomputable: ClassVar[frozenset[str]] = frozenset({"request", "candidate"})

    @abstractmethod
    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Encodes the request side of R rows `[R, …]`."""

    @abstractmethod
    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Encodes the candidate side of N rows `[N, …]`."""

    @abstractmethod
    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Scores candidates from the vectors of both sides.

        Args:
            request: `[R, …]` from `encode_request`.
            candidate: `[N, …]` from `encode_candidate`.
            cross: Cross fields, N rows.
            request_index: Request of each candidate `[N]`.
        """

    def closed_form(self) -> Interaction | None:
        """How logits come from the vectors of both sides, if by a dot product or a sum: a server then needs no program
        of `interact`. None if it is more than that."""
        return None

    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch."""
        request = self.encode_request(batch.request)
        candidate = self.encode_candidate(batch.candidate)
        return self.interact(request, candidate, batch.cross, batch.request_index)


class SinglePreRanker(SplitPreRanker):
    """A pre-ranker in parts that combines the candidates of one request alone in a cheaper way."""

    @abstractmethod
    def interact_single(self, request: Tensor, candidate: Tensor, cross: FeatureBlock) -> Tensor:
        """Returns the logits `[N, K]` that `interact` gives for the candidates of one request.

        Args:
            request: `[1, …]` from `encode_request`.
            candidate: `[N, …]` from `encode_candidate`.
            cross: Cross fields, N rows.
        """
