"""From a `FeatureBlock` to the embeddings of its fields."""

from distill.features.distinct import distinct_rows
from distill.features.encoder import SideEncoder, Slot
from distill.features.placement import build_tables, table_sharding
from distill.features.sequence import MeanPooling, SequencePooling, TransformerPooling
from distill.features.serving import ServingProjection
from distill.features.sharded import ShardedTables
from distill.features.tables import EmbeddingTables

__all__ = [
    "EmbeddingTables",
    "MeanPooling",
    "SequencePooling",
    "ServingProjection",
    "ShardedTables",
    "SideEncoder",
    "Slot",
    "TransformerPooling",
    "build_tables",
    "distinct_rows",
    "table_sharding",
]
