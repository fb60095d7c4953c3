"""Two-tower: the similarity of a request vector and an item vector."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.batch import FeatureBlock
from distill.features import Features, distinct_rows
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.similarity import SimilarityPreRanker, TowerVectors
from distill.models.prerankers.tower import Tower, side_encoders


class TwoTower(SimilarityPreRanker):
    """Computes z_k = cos(u_k, v_k)/τ_k + b_k, or with a dot product u_k·v_k/τ_k + b_k.

    There is one request vector per task, and one item vector per task or for all. Cross fields are not used: a
    two-tower cannot see them. With a body that gates fields (`body=senet`) it is a SENet two-tower.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        body: Builds the body of each tower from the fields of its side.
        vectors: Their width, and how they are compared.
        shared_item_vector: One item vector for all tasks: an item stores `vector_dim` floats instead of K times that.
        distinct_candidates: Encode equal candidates of a batch once: the same numbers, sooner where items repeat.

    Reference: Huang et al., "Learning Deep Structured Semantic Models", 2013; Yi et al., "Sampling-Bias-Corrected
    Neural Modeling", 2019, section 3.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        vectors: TowerVectors,
        shared_item_vector: bool,
        distinct_candidates: bool,
    ) -> None:
        super().__init__()
        num_tasks, width = features.num_tasks, vectors.vector_dim
        self.distinct_candidates = distinct_candidates
        self.needs_shapes = distinct_candidates  # the number of different candidates
        request, candidate = side_encoders(features)
        self.request_tower = Tower(request, body, num_tasks, width)
        self.candidate_tower = Tower(candidate, body, 1 if shared_item_vector else num_tasks, width)
        self.similarity = vectors.build_similarity(num_tasks)

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K or 1, vector_dim]`."""
        if not self.distinct_candidates or torch.compiler.is_exporting():
            return super().encode_candidate(block)
        distinct, where = distinct_rows(block)
        return super().encode_candidate(distinct).index_select(0, where)
