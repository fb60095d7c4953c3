"""Two-tower with a late MLP instead of an inner product, and shortcuts that carry lower-layer features to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import Features, SideEncoder
from distill.layers.mlp import MLP
from distill.models.bodies.base import BodyFactory
from distill.models.heads import TaskHeads
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.tower import side_encoders

Shortcut = Literal["none", "fields", "hidden"]


class LateMLP(SplitPreRanker):
    """z_k = w_k·MLP([u, v, u ⊙ v, s_u, s_v]) + b_k.

    u and v are the towers' vectors; s_u and s_v are projections of what the towers had below: an MLP over u and v alone
    gains little, since the details of both sides are lost by then. The part of the first layer that reads [u, s_u] and
    the one that reads [v, s_v] belong to one side each; only that of u ⊙ v must be computed for every pair.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        body: Builds the body of each tower from the fields of its side.
        vector_dim: Width of u and v.
        shortcut: What s_u and s_v are made of: `none`, `fields` (the encoded fields) or `hidden` (the body's output).
        shortcut_dim: Width of s_u and s_v.
        hidden_units: Widths of the late MLP.
        residual: Whether its layers add their input where the widths agree.
        dropout: Of the late MLP.

    Raises:
        ConfigError: The shortcut is unknown.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        vector_dim: int,
        shortcut: Shortcut,
        shortcut_dim: int,
        hidden_units: Sequence[int],
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if shortcut not in ("none", "fields", "hidden"):
            raise ConfigError("Unknown shortcut.", expected="none, fields or hidden", found=str(shortcut))
        request, candidate = side_encoders(features)
        self.vector_dim = vector_dim
        self.request_tower = _ShortcutTower(request, body, vector_dim, shortcut, shortcut_dim)
        self.candidate_tower = _ShortcutTower(candidate, body, vector_dim, shortcut, shortcut_dim)
        stored = vector_dim + (0 if shortcut == "none" else shortcut_dim)
        self.late = MLP(2 * stored + vector_dim, hidden_units, dropout=dropout, residual=residual)
        self.heads = TaskHeads(self.late.out_features, features.num_tasks)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns [u, s_u] `[R, vector_dim + shortcut_dim]`."""
        vectors: Tensor = self.request_tower(block)
        return vectors

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns [v, s_v] `[N, vector_dim + shortcut_dim]`."""
        vectors: Tensor = self.candidate_tower(block)
        return vectors

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request`, `candidate` (as stored) and `late [N, hidden_units[-1]]`."""
        expanded = request.index_select(0, request_index)
        product = expanded[:, : self.vector_dim] * candidate[:, : self.vector_dim]
        late = self.late(torch.cat([expanded, candidate, product], dim=1))
        return RankerOutput(self.heads(late), {"request": expanded, "candidate": candidate, "late": late})


class _ShortcutTower(nn.Module):
    def __init__(
        self, encoder: SideEncoder, body: BodyFactory, vector_dim: int, shortcut: Shortcut, shortcut_dim: int
    ) -> None:
        super().__init__()
        self.encoder, self.body, self.kind = encoder, body(encoder.layout), shortcut
        self.project = nn.Linear(self.body.out_features, vector_dim)
        below = {"none": 0, "fields": encoder.out_features, "hidden": self.body.out_features}[shortcut]
        self.shortcut = nn.Linear(below, shortcut_dim) if shortcut != "none" else None

    def forward(self, block: FeatureBlock) -> Tensor:
        x = self.encoder(block)
        hidden = self.body(x)
        vector: Tensor = self.project(hidden)
        if self.shortcut is None:
            return vector
        return torch.cat([vector, self.shortcut(x if self.kind == "fields" else hidden)], dim=1)
