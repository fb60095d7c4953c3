"""Two-tower: the similarity of a request vector and an item vector."""

from __future__ import annotations

from torch import Tensor

from distill.batch import FeatureBlock, RankerOutput
from distill.features import SequenceEncoding, distinct_rows
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.similarity import Kind, Similarity
from distill.models.prerankers.tower import Tower, side_encoders
from distill.schema import Schema


class TwoTower(SplitPreRanker):
    """Computes z_k = cos(u_k, v_k)/τ_k + b_k, or with a dot product u_k·v_k/τ_k + b_k.

    There is one request vector per task, and one item vector per task or for all. Cross fields are not used: a
    two-tower cannot see them. With a body that gates fields (`body=senet`) it is a SENet two-tower.

    Args:
        schema: Serving view of a prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded, whatever the candidate.
        body: Builds the body of each tower from the fields of its side.
        vector_dim: Width of the vectors.
        similarity: `cosine` or `dot`.
        temperature: τ; learned for each task if not given.
        shared_item_vector: One item vector for all tasks: an item stores `vector_dim` floats instead of K times that.
        distinct_candidates: Encode equal candidates of a batch once: the same numbers, sooner where items repeat.

    Reference: Huang et al., "Learning Deep Structured Semantic Models", 2013; Yi et al., "Sampling-Bias-Corrected
    Neural Modeling", 2019, section 3.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embedding_std: float,
        sequence: SequenceEncoding,
        body: BodyFactory,
        vector_dim: int,
        similarity: Kind,
        temperature: float | None,
        shared_item_vector: bool,
        distinct_candidates: bool,
    ) -> None:
        super().__init__()
        num_tasks = len(schema.tasks)
        self.distinct_candidates = distinct_candidates
        request, candidate = side_encoders(schema, embedding_dim, embedding_std, sequence)
        self.request_tower = Tower(request, body, num_tasks, vector_dim)
        self.candidate_tower = Tower(candidate, body, 1 if shared_item_vector else num_tasks, vector_dim)
        self.similarity = Similarity(similarity, num_tasks, vector_dim, temperature)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        return self.similarity.request(self.request_tower(block))

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K or 1, vector_dim]`."""
        if self.distinct_candidates:
            distinct, where = distinct_rows(block)
            return self.similarity.candidate(self.candidate_tower(distinct)).index_select(0, where)
        return self.similarity.candidate(self.candidate_tower(block))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, K·vector_dim]`, `candidate [N, …]`."""
        expanded = request.index_select(0, request_index)
        logits: Tensor = self.similarity(expanded, candidate)
        return RankerOutput(logits, {"request": expanded.flatten(1), "candidate": candidate.flatten(1)})
