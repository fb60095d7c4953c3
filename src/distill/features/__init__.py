"""From a `FeatureBlock` to the embeddings of its fields."""

from distill.features.distinct import distinct_rows
from distill.features.encoder import SideEncoder, Slot
from distill.features.sequence import MeanPooling, SequencePooling, TransformerPooling
from distill.features.serving import ServingProjection
from distill.features.tables import EmbeddingTables

__all__ = [
    "EmbeddingTables",
    "MeanPooling",
    "SequencePooling",
    "ServingProjection",
    "SideEncoder",
    "Slot",
    "TransformerPooling",
    "distinct_rows",
]
