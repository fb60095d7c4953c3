"""Three-tower: a cross tower beside request and item tower, run online."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import Features, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.similarity import SimilarityPreRanker, TowerVectors
from distill.models.prerankers.tower import Tower, side_encoders
from distill.schema import Side

CrossHead = Literal["product", "linear"]


class ThreeTower(SimilarityPreRanker):
    """z_k = sim(u_k, v_k) + w_k·[u_k ⊙ c_k, c_k] + b_k: the similarity of a two-tower, and what the cross tower adds.

    c comes from the cross fields (what is known of the pair: matches, interactions), u and v as in a two-tower. Only
    the cross tower and the sums are computed for every pair. The second part starts at 0, as a two-tower. With
    `cross_head=linear` it is w_k·c, where c is the body's output: what the pair adds does not depend on the request.
    With `cross_body=fields` c are the cross fields x themselves, so that z_k = cos(u_k, v_k)/τ_k + w_k·x + b_k: the
    score of InteractRank.

    Args:
        features: Fields of a serving view, cross fields among them; sequences are encoded whatever the candidate.
        body: Builds the body of the request and the item tower from the fields of its side.
        cross_body: Builds the body of the cross tower.
        vectors: Their width, and how they are compared.
        cross_head: `product` or `linear`.

    Raises:
        ConfigError: There are no cross fields, or the cross head is unknown.

    Reference: of `linear`, Khandagale et al., "InteractRank: Personalized Web-Scale Search Pre-Ranking with Cross
    Interaction Features", WWW 2025, arXiv:2504.06609, and its public code (vectors of length one; a linear layer over
    their product and the cross features). Deviations: an item vector and weights w for each task, where the code has
    one of each for all; w starts at 0, where the code starts it at 1.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        cross_body: BodyFactory,
        vectors: TowerVectors,
        cross_head: CrossHead = "product",
    ) -> None:
        super().__init__()
        if cross_head not in get_args(CrossHead):
            raise ConfigError(
                "Unknown cross head.", where="cross_head", expected="product or linear", found=str(cross_head)
            )
        if not features.schema.side(Side.CROSS):
            raise ConfigError(
                "A three-tower has a tower for cross fields, and this dataset has none.",
                where="model",
                expected="a field with side: cross that is not privileged",
                found="none",
                remedy="Add cross fields to the schema, or choose model=two_tower.",
            )
        num_tasks, width = features.num_tasks, vectors.vector_dim
        request, candidate = side_encoders(features)
        cross = SideEncoder(features.schema, Side.CROSS, request.tables, features.sequence)
        self.request_tower = Tower(request, body, num_tasks, width)
        self.candidate_tower = Tower(candidate, body, num_tasks, width)
        self.cross_head = cross_head
        self.cross_tower: _Encoded | Tower
        if cross_head == "linear":
            self.cross_tower = _Encoded(cross, cross_body)
            merged: tuple[int, ...] = (num_tasks, self.cross_tower.body.out_features)
        else:
            self.cross_tower, merged = Tower(cross, cross_body, num_tasks, width), (2, num_tasks, width)
        self.similarity = vectors.build_similarity(num_tasks)
        self.merge = nn.Parameter(torch.zeros(merged))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request`, `candidate` and `cross`, each `[N, K·vector_dim]`; with a
        linear head `cross` is the output of its body."""
        expanded = request.index_select(0, request_index)
        pair: Tensor = self.cross_tower(cross)
        if self.cross_head == "linear":
            added = pair @ self.merge.T
        else:
            added = (pair * (expanded * self.merge[0] + self.merge[1])).sum(-1)
        logits = self.similarity(expanded, candidate) + added
        hidden = {"request": expanded, "candidate": candidate, "cross": pair}
        return RankerOutput(logits, {name: vectors.flatten(1) for name, vectors in hidden.items()})


class _Encoded(nn.Module):
    """The fields of a side → body."""

    def __init__(self, encoder: SideEncoder, body: BodyFactory) -> None:
        super().__init__()
        self.encoder, self.body = encoder, body(encoder.layout)

    def forward(self, block: FeatureBlock) -> Tensor:
        hidden: Tensor = self.body(self.encoder(block))
        return hidden
