"""Small models for tests."""

from __future__ import annotations

from functools import partial

from distill.features import EmbeddingTables, Features, MeanPooling, SequenceEncoding, TableFactory
from distill.models import InteractionRanker, TwoTower
from distill.models.bodies.dcn import DCNV2
from distill.models.bodies.dnn import DNN
from distill.models.prerankers.similarity import Kind, TowerVectors
from distill.schema import Schema

MEAN = MeanPooling()


def small_dcn_v2(
    schema: Schema,
    structure: str = "parallel",
    rank: int | None = None,
    sequence: SequenceEncoding = MEAN,
    num_experts: int | None = None,
    tables: TableFactory = EmbeddingTables,
) -> InteractionRanker:
    """A DCN v2 of two cross layers, width 4."""
    body = partial(
        DCNV2,
        num_cross_layers=2,
        cross_rank=rank,
        num_experts=num_experts,
        hidden_units=[16, 8],
        structure=structure,
        dropout=0.0,
    )
    return InteractionRanker(Features(schema, 4, 0.05, sequence, tables), body)


def small_two_tower(
    schema: Schema,
    similarity: Kind = "cosine",
    shared: bool = False,
    sequence: SequenceEncoding = MEAN,
    distinct: bool = False,
    temperature: float | None = None,
    tables: TableFactory = EmbeddingTables,
) -> TwoTower:
    """A two-tower with MLPs of one layer and vectors of width 8."""
    body = partial(DNN, hidden_units=[16], norm="none", dropout=0.0, residual=False)
    features = Features(schema, 4, 0.05, sequence, tables)
    return TwoTower(features, body, TowerVectors(8, similarity, temperature), shared, distinct)
