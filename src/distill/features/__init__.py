"""From a `FeatureBlock` to the embeddings of its fields."""

from distill.features.borrowed import BorrowedTables
from distill.features.distinct import distinct_rows
from distill.features.encoder import SideEncoder
from distill.features.features import Features
from distill.features.groups import TableGroups
from distill.features.layout import FieldLayout
from distill.features.placement import TableFactory, TableSharing, table_factory
from distill.features.sequence import (
    MeanPooling,
    SearchedAttentionEncoding,
    SequenceEncoding,
    SequencePooling,
    TargetAttentionEncoding,
    TargetEncoding,
    TargetTransformerEncoding,
    TransformerPooling,
)
from distill.features.sequence_values import SequenceValues
from distill.features.serving import FieldSelection, ServingProjection, kept_fields
from distill.features.sharded import ShardedTables, sharded_tables
from distill.features.tables import EmbeddingTables

__all__ = [
    "BorrowedTables",
    "EmbeddingTables",
    "Features",
    "FieldLayout",
    "FieldSelection",
    "MeanPooling",
    "SearchedAttentionEncoding",
    "SequenceEncoding",
    "SequencePooling",
    "SequenceValues",
    "ServingProjection",
    "ShardedTables",
    "SideEncoder",
    "TableFactory",
    "TableGroups",
    "TableSharing",
    "TargetAttentionEncoding",
    "TargetEncoding",
    "TargetTransformerEncoding",
    "TransformerPooling",
    "distinct_rows",
    "kept_fields",
    "sharded_tables",
    "table_factory",
]
