"""Three-tower: a cross tower beside request and item tower, run online."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import SequenceEncoding, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.similarity import Kind, Similarity
from distill.models.prerankers.tower import Tower, side_encoders
from distill.schema import Schema, Side


class ThreeTower(SplitPreRanker):
    """z_k = sim(u_k, v_k) + w_k·[u_k ⊙ c_k, c_k] + b_k: the similarity of a two-tower, and what the cross tower adds.

    c comes from the cross fields (what is known of the pair: matches, interactions), u and v as in a two-tower. Only
    the cross tower and the sums are computed for every pair. The second part starts at 0, as a two-tower.

    Args:
        schema: Serving view of a prepared schema, with cross fields.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded, whatever the candidate.
        body: Builds the body of the request and the item tower from the fields of its side.
        cross_body: Builds the body of the cross tower.
        vector_dim: Width of the vectors.
        similarity: `cosine` or `dot`.
        temperature: Of the similarity; learned for each task if not given.

    Raises:
        ConfigError: There are no cross fields.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embedding_std: float,
        sequence: SequenceEncoding,
        body: BodyFactory,
        cross_body: BodyFactory,
        vector_dim: int,
        similarity: Kind,
        temperature: float | None,
    ) -> None:
        super().__init__()
        if not schema.side(Side.CROSS):
            raise ConfigError(
                "A three-tower has a tower for cross fields, and this dataset has none.",
                where="model",
                expected="a field with side: cross that is not privileged",
                found="none",
                remedy="Add cross fields to the schema, or choose model=two_tower.",
            )
        num_tasks = len(schema.tasks)
        request, candidate = side_encoders(schema, embedding_dim, embedding_std, sequence)
        self.request_tower = Tower(request, body, num_tasks, vector_dim)
        self.candidate_tower = Tower(candidate, body, num_tasks, vector_dim)
        self.cross_tower = Tower(
            SideEncoder(schema, Side.CROSS, request.tables, sequence), cross_body, num_tasks, vector_dim
        )
        self.similarity = Similarity(similarity, num_tasks, vector_dim, temperature)
        self.merge = nn.Parameter(torch.zeros(2, num_tasks, vector_dim))

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        return self.similarity.request(self.request_tower(block))

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K, vector_dim]`."""
        return self.similarity.candidate(self.candidate_tower(block))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request`, `candidate` and `cross`, each `[N, K·vector_dim]`."""
        expanded = request.index_select(0, request_index)
        pair: Tensor = self.cross_tower(cross)
        added = (pair * (expanded * self.merge[0] + self.merge[1])).sum(-1)
        logits = self.similarity(expanded, candidate) + added
        hidden = {"request": expanded, "candidate": candidate, "cross": pair}
        return RankerOutput(logits, {name: vectors.flatten(1) for name, vectors in hidden.items()})
