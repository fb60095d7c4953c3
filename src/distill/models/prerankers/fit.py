"""FIT: target attention that is computed once a request, for a few queries that stand for all items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.arguments import Bundle
from distill.batch import FeatureBlock, Ragged, RankerOutput
from distill.errors import ConfigError
from distill.features import EmbeddingTables, Features, FieldLayout, MeanPooling, SequenceValues, SideEncoder
from distill.layers.checks import check_sizes
from distill.layers.meta_queries import Assignment, MetaQueries, QueryAttention
from distill.layers.ragged import pad_values, present_values
from distill.models.bodies.base import BodyFactory
from distill.models.heads import TaskTowers
from distill.models.prerankers.base import SinglePreRanker
from distill.models.prerankers.tower import Tower
from distill.schema import FieldSpec, Side

_QUERY = "<query>"


@dataclass(frozen=True)
class QueryOptions(Bundle):
    """The queries of a FIT; see `MetaQueries`.

    Attributes:
        num_queries: M.
        query_dim: Their width.
        assignment: `soft` or `hard`.
        query_temperature: τ of the softmax over queries.
    """

    num_queries: int
    query_dim: int
    assignment: Assignment
    query_temperature: float

    def build(self, in_features: int) -> MetaQueries:
        """Builds the queries for items whose encoded fields have a width."""
        return MetaQueries(in_features, self.num_queries, self.query_dim, self.assignment, self.query_temperature)


@dataclass(frozen=True)
class HeadScorer(Bundle):
    """The heads of both sides, and what scores their similarities.

    Attributes:
        num_heads: H, of each task.
        vector_dim: Width of a head.
        scorer_units: Widths of the MLP over the H² similarities; none makes it linear.
    """

    num_heads: int
    vector_dim: int
    scorer_units: Sequence[int]

    def __post_init__(self) -> None:
        sizes = {"num_heads": self.num_heads, "vector_dim": self.vector_dim}
        check_sizes("FIT", sizes | {f"scorer_units[{i}]": units for i, units in enumerate(self.scorer_units)})


class FIT(SinglePreRanker):
    """z_k = w_k·MLP_k(vec(U_k V_kᵀ / √D)) + b_k with heads U_k of Σ_m k_m U(q*_m), and V_k of the item.

    M learned queries q*_1 … q*_M stand for all items. The request tower runs once a request for each of them: its body
    reads the request's fields, what the query takes from each sequence by attention, and the query itself, and gives H
    heads for each task. An item stores its weights k over the queries and its own heads. What is left for a pair is to
    mix M vectors (`assignment=soft`) or to take one (`hard`), H² inner products and a small MLP.

    Args:
        features: Fields of a serving view. Sequences of the request are attended to, those of the item averaged.
        body: Builds the body of each tower: the item's from its fields, the request's from its fields, what is
            attended and the query.
        queries: The queries, and how items take them.
        scorer: The heads, and what scores them.

    Raises:
        ConfigError: Sequences are not to be averaged, or a size is below 1.

    Reference: Xiong et al., "A Learnable Fully Interacted Two-Tower Model for Pre-Ranking System", SIGIR 2025,
    arXiv:2509.12948, read from summaries: a meta matrix that lets items ask the user tower early, and a learned score
    of the similarities of heads instead of their sum of maxima. Choices made here: the heads of the request are mixed
    behind its tower, where the paper mixes the queries in front of it, so that training costs M passes a request and
    not one a candidate, and both assignments are exact at serving; weights are stored, which the smaller types of
    stored vectors leave usable, and not an index; an MLP of each task scores, since a linear scorer is a dot product.
    """

    def __init__(self, features: Features, body: BodyFactory, queries: QueryOptions, scorer: HeadScorer) -> None:
        super().__init__()
        if not isinstance(features.sequence, MeanPooling):
            raise ConfigError(
                "FIT attends to the sequences of a request by its own queries.",
                where="model.net.sequence",
                expected="sequence=mean, which is for sequences of items",
                found=type(features.sequence).__name__,
            )
        num_tasks = features.num_tasks
        self.queries, self.num_heads, self.vector_dim = queries, scorer.num_heads, scorer.vector_dim
        self.hard = queries.assignment == "hard"
        # Rows of `vector_dim` that hold the weights: int8 has a scale for each row.
        self._weight_rows = -(-queries.num_queries // scorer.vector_dim)
        tables = features.build_tables()
        candidate = SideEncoder(features.schema, Side.CANDIDATE, tables, features.sequence)
        self.meta_queries = queries.build(candidate.out_features)
        self.request_tower = _AskedTower(features, tables, body, queries, num_tasks * scorer.num_heads, self.vector_dim)
        self.candidate_tower = Tower(candidate, body, num_tasks * scorer.num_heads, scorer.vector_dim)
        self.scorer = TaskTowers(scorer.num_heads**2, num_tasks, scorer.scorer_units)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns the heads for each query `[R, M, K·H·D]`."""
        heads: Tensor = self.request_tower(block, self.meta_queries.queries())
        return heads

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns the weights over queries, in ⌈M/D⌉ rows that zeros fill up, and the heads `[N, ⌈M/D⌉ + K·H, D]`."""
        tower = self.candidate_tower
        x = tower.encoder(block)
        weights = self.meta_queries(x)
        filled = functional.pad(weights, (0, self._weight_rows * self.vector_dim - weights.shape[1]))
        rows = filled.view(-1, self._weight_rows, self.vector_dim)
        return torch.cat([rows, tower.vectors(x).to(rows.dtype)], dim=1)

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, K·H·D]`, `candidate [N, (⌈M/D⌉ + K·H)·D]`."""
        weights = self._weights(candidate)
        if self.hard and not self.training:
            row = request_index * request.shape[1] + weights.argmax(dim=1)
            mixed = request.flatten(0, 1).index_select(0, row)
        else:
            mixed = torch.einsum("nm,nmw->nw", weights.to(request.dtype), request.index_select(0, request_index))
        return RankerOutput(self._score(mixed, candidate), {"request": mixed, "candidate": candidate.flatten(1)})

    def interact_single(self, request: Tensor, candidate: Tensor, cross: FeatureBlock) -> Tensor:
        """Returns logits `[N, K]` of the candidates of one request."""
        weights, heads = self._weights(candidate), request[0]
        mixed = heads.index_select(0, weights.argmax(dim=1)) if self.hard else weights @ heads
        return self._score(mixed, candidate)

    def _weights(self, candidate: Tensor) -> Tensor:
        """Returns `[N, M]`."""
        return candidate[:, : self._weight_rows].flatten(1)[:, : self.queries.num_queries]

    def _score(self, mixed: Tensor, candidate: Tensor) -> Tensor:
        shape = (-1, self.scorer.weight.shape[0], self.num_heads, self.vector_dim)
        u, v = mixed.view(shape), candidate[:, self._weight_rows :].reshape(shape)
        products = torch.einsum("nkhd,nkgd->nkhg", u, v.to(u.dtype)) / self.vector_dim**0.5
        logits: Tensor = self.scorer(products.flatten(2))
        return logits


class _AskedTower(nn.Module):
    """The request's fields and M queries `[M, D]` → vectors `[R, M, num_vectors·vector_dim]`."""

    def __init__(
        self,
        features: Features,
        tables: EmbeddingTables,
        body: BodyFactory,
        queries: QueryOptions,
        num_vectors: int,
        vector_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = SideEncoder(features.schema, Side.REQUEST, tables, None)
        self._sequences = [f for f in features.schema.side(Side.REQUEST) if f.is_sequence]
        self.sequence_values = SequenceValues(self._sequences, tables)
        widths = {f.name: tables.width(f) for f in self._sequences}
        self.attention = nn.ModuleDict(
            {name: QueryAttention(queries.query_dim, width) for name, width in widths.items()}
        )
        self.body = body(self.encoder.layout + FieldLayout({**widths, _QUERY: queries.query_dim}))
        self.project = nn.Linear(self.body.out_features, num_vectors * vector_dim)

    def forward(self, block: FeatureBlock, queries: Tensor) -> Tensor:
        row, count = self.encoder(block), queries.shape[0]
        parts = [row.unsqueeze(1).expand(-1, count, -1)]
        parts += [self._attended(spec, block.sequences[spec.name], queries) for spec in self._sequences]
        parts.append(queries.unsqueeze(0).expand(row.shape[0], -1, -1))
        x = torch.cat([part.to(row.dtype) for part in parts], dim=2)
        vectors: Tensor = self.project(self.body(x.flatten(0, 1)))
        return vectors.view(-1, count, vectors.shape[1])

    def _attended(self, spec: FieldSpec, ragged: Ragged, queries: Tensor) -> Tensor:
        values = self.sequence_values.rows(self.encoder.tables, spec, ragged)
        padded = values if values.dim() == 3 else pad_values(values, ragged.lengths, ragged.longest)[0]
        attended: Tensor = self.attention[spec.name](queries, padded, present_values(padded, ragged.lengths))
        return attended
