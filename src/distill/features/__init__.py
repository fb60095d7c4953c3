"""From a `FeatureBlock` to the embeddings of its fields."""

from distill.features.encoder import SideEncoder, Slot
from distill.features.serving import ServingProjection
from distill.features.tables import EmbeddingTables

__all__ = ["EmbeddingTables", "ServingProjection", "SideEncoder", "Slot"]
