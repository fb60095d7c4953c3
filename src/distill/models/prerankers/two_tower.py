"""Two-tower: the similarity of a request vector and an item vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import SequencePooling, SideEncoder, build_tables, distinct_rows
from distill.layers.mlp import MLP
from distill.models.prerankers.base import PreRanker
from distill.schema import Schema, Side


class Tower(nn.Module):
    """Fields of one side → MLP → one vector per task.

    Args:
        encoder: Embeds the side.
        hidden_units: Widths of the MLP.
        num_vectors: How many vectors per row.
        vector_dim: Width of a vector.
        dropout: Of the MLP.
    """

    def __init__(
        self, encoder: SideEncoder, hidden_units: Sequence[int], num_vectors: int, vector_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.mlp = MLP(encoder.out_features, hidden_units, dropout=dropout)
        self.project = nn.Linear(self.mlp.out_features, num_vectors * vector_dim)
        self._shape = (num_vectors, vector_dim)

    def forward(self, block: FeatureBlock) -> Tensor:
        """Returns `[B, num_vectors, vector_dim]`."""
        vectors: Tensor = self.project(self.mlp(self.encoder(block)))
        return vectors.view(-1, *self._shape)


class TwoTower(PreRanker):
    """Computes z_k = s_k·cos(u_k, v_k) + b_k, or with a dot product s_k·u_k·v_k + b_k.

    There is one request vector per task, and one item vector per task or for all. Cross fields are not used: a
    two-tower cannot see them.

    Args:
        schema: Serving view of a prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        hidden_units: Widths of both towers' MLPs.
        vector_dim: Width of the vectors.
        similarity: `cosine` or `dot`; the scale s_k is learned.
        shared_item_vector: One item vector for all tasks: an item stores `vector_dim` floats instead of K times that.
        dropout: Of the MLPs.
        sequence: How sequence fields are encoded.
        distinct_candidates: Encode equal candidates of a batch once: the same numbers, sooner where items repeat.

    Reference: Huang et al., "Learning Deep Structured Semantic Models", 2013; Yi et al., "Sampling-Bias-Corrected
    Neural Modeling", 2019, section 3.
    """

    precomputable: ClassVar[frozenset[str]] = frozenset({"request", "candidate"})

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embedding_std: float,
        hidden_units: Sequence[int],
        vector_dim: int,
        similarity: Literal["cosine", "dot"],
        shared_item_vector: bool,
        dropout: float,
        sequence: SequencePooling,
        distinct_candidates: bool,
    ) -> None:
        super().__init__()
        if similarity not in ("cosine", "dot"):
            raise ConfigError("Unknown similarity.", expected="cosine or dot", found=str(similarity))
        num_tasks = len(schema.tasks)
        tables = build_tables(schema, embedding_dim, embedding_std)
        self.tables = tables
        self.similarity = similarity
        self.distinct_candidates = distinct_candidates
        request, candidate = (SideEncoder(schema, side, tables, sequence) for side in (Side.REQUEST, Side.CANDIDATE))
        self.request_tower = Tower(request, hidden_units, num_tasks, vector_dim, dropout)
        item_vectors = 1 if shared_item_vector else num_tasks
        self.candidate_tower = Tower(candidate, hidden_units, item_vectors, vector_dim, dropout)
        initial_scale = 5.0 if similarity == "cosine" else 1.0 / math.sqrt(vector_dim)
        self.log_scale = nn.Parameter(torch.full((num_tasks,), math.log(initial_scale)))
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        vectors: Tensor = self.request_tower(block)
        if self.similarity == "cosine":
            vectors = functional.normalize(vectors, dim=-1)
        return vectors * self.log_scale.exp().unsqueeze(1)

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K or 1, vector_dim]`."""
        if self.distinct_candidates:
            distinct, where = distinct_rows(block)
            return self._candidates(distinct).index_select(0, where)
        return self._candidates(block)

    def _candidates(self, block: FeatureBlock) -> Tensor:
        vectors: Tensor = self.candidate_tower(block)
        return functional.normalize(vectors, dim=-1) if self.similarity == "cosine" else vectors

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, K·vector_dim]`, `candidate [N, …]`."""
        expanded = request.index_select(0, request_index)
        logits = (expanded * candidate).sum(-1) + self.bias
        return RankerOutput(logits, {"request": expanded.flatten(1), "candidate": candidate.flatten(1)})
