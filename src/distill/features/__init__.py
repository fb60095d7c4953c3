"""From a `FeatureBlock` to the embeddings of its fields."""

from distill.features.borrowed import BorrowedTables
from distill.features.distinct import distinct_rows
from distill.features.encoder import SideEncoder
from distill.features.layout import FieldLayout
from distill.features.placement import TableSharing, build_tables, table_sharding
from distill.features.sequence import (
    MeanPooling,
    SequenceEncoding,
    SequencePooling,
    TargetAttentionEncoding,
    TargetEncoding,
    TargetTransformerEncoding,
    TransformerPooling,
)
from distill.features.serving import FieldSelection, ServingProjection
from distill.features.sharded import ShardedTables
from distill.features.tables import EmbeddingTables

__all__ = [
    "BorrowedTables",
    "EmbeddingTables",
    "FieldLayout",
    "FieldSelection",
    "MeanPooling",
    "SequenceEncoding",
    "SequencePooling",
    "ServingProjection",
    "ShardedTables",
    "SideEncoder",
    "TableSharing",
    "TargetAttentionEncoding",
    "TargetEncoding",
    "TargetTransformerEncoding",
    "TransformerPooling",
    "build_tables",
    "distinct_rows",
    "table_sharding",
]
