"""Parallel two-tower: several pairs of sub-towers, each with an interaction of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import Features, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.models.heads import TaskHeads
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.tower import side_encoders


class ParallelTwoTower(SplitPreRanker):
    """z_k = w_k·[u_1 ⊙ v_1, …, u_M ⊙ v_M] + b_k, with u_m and v_m from the sub-towers m of both sides.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        bodies: Name of a pair of sub-towers to what builds the body of each.
        vector_dim: Width of each sub-tower's vector.

    Raises:
        ConfigError: There is no sub-tower.
    """

    def __init__(
        self,
        features: Features,
        bodies: Mapping[str, BodyFactory],
        vector_dim: int,
    ) -> None:
        super().__init__()
        if not bodies:
            raise ConfigError("A parallel two-tower needs sub-towers.", where="model.net.bodies", found="none")
        request, candidate = side_encoders(features)
        self.request_towers = _SubTowers(request, bodies, vector_dim)
        self.candidate_towers = _SubTowers(candidate, bodies, vector_dim)
        self.heads = TaskHeads(len(bodies) * vector_dim, features.num_tasks)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, M·vector_dim]`."""
        vectors: Tensor = self.request_towers(block)
        return vectors

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, M·vector_dim]`."""
        vectors: Tensor = self.candidate_towers(block)
        return vectors

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, M·vector_dim]`, `candidate [N, M·vector_dim]`."""
        expanded = request.index_select(0, request_index)
        return RankerOutput(self.heads(expanded * candidate), {"request": expanded, "candidate": candidate})


class _SubTowers(nn.Module):
    def __init__(self, encoder: SideEncoder, bodies: Mapping[str, BodyFactory], vector_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        built = {name: body(encoder.layout) for name, body in bodies.items()}
        self.bodies = nn.ModuleDict(built)
        self.projections = nn.ModuleDict(
            {name: nn.Linear(body.out_features, vector_dim) for name, body in built.items()}
        )

    def forward(self, block: FeatureBlock) -> Tensor:
        x = self.encoder(block)
        return torch.cat([self.projections[name](body(x)) for name, body in self.bodies.items()], dim=1)
