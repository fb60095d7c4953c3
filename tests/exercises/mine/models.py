"""A model: a pre-ranker of two linear towers."""

from __future__ import annotations

from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.features import Features
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.tower import side_encoders


class LinearTowers(SplitPreRanker):
    """``z_k = u_k · v``, with u and v linear in the embedded fields of each side."""

    def __init__(self, features: Features, vector_dim: int) -> None:
        super().__init__()
        self.request, self.candidate = side_encoders(features)
        self.shape = features.num_tasks, vector_dim
        self.request_map = nn.Linear(self.request.out_features, features.num_tasks * vector_dim)
        self.candidate_map = nn.Linear(self.candidate.out_features, vector_dim)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K·vector_dim]`."""
        vectors: Tensor = self.request_map(self.request(block))
        return vectors

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, vector_dim]`."""
        vectors: Tensor = self.candidate_map(self.candidate(block))
        return vectors

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and both vectors."""
        expanded = request.index_select(0, request_index)
        logits = (expanded.unflatten(1, self.shape) * candidate.unsqueeze(1)).sum(-1)
        return RankerOutput(logits, {"request": expanded, "candidate": candidate})
