"""Three-tower: a cross tower beside request and item tower, run online."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import Features, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.similarity import SimilarityPreRanker, TowerVectors
from distill.models.prerankers.tower import Tower, side_encoders
from distill.schema import Side


class ThreeTower(SimilarityPreRanker):
    """z_k = sim(u_k, v_k) + w_k·[u_k ⊙ c_k, c_k] + b_k: the similarity of a two-tower, and what the cross tower adds.

    c comes from the cross fields (what is known of the pair: matches, interactions), u and v as in a two-tower. Only
    the cross tower and the sums are computed for every pair. The second part starts at 0, as a two-tower.

    Args:
        features: Fields of a serving view, cross fields among them; sequences are encoded whatever the candidate.
        body: Builds the body of the request and the item tower from the fields of its side.
        cross_body: Builds the body of the cross tower.
        vectors: Their width, and how they are compared.

    Raises:
        ConfigError: There are no cross fields.
    """

    def __init__(self, features: Features, body: BodyFactory, cross_body: BodyFactory, vectors: TowerVectors) -> None:
        super().__init__()
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
        self.cross_tower = Tower(cross, cross_body, num_tasks, width)
        self.similarity = vectors.build_similarity(num_tasks)
        self.merge = nn.Parameter(torch.zeros(2, num_tasks, width))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request`, `candidate` and `cross`, each `[N, K·vector_dim]`."""
        expanded = request.index_select(0, request_index)
        pair: Tensor = self.cross_tower(cross)
        added = (pair * (expanded * self.merge[0] + self.merge[1])).sum(-1)
        logits = self.similarity(expanded, candidate) + added
        hidden = {"request": expanded, "candidate": candidate, "cross": pair}
        return RankerOutput(logits, {name: vectors.flatten(1) for name, vectors in hidden.items()})
