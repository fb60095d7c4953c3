"""Raw rows as batches of a model, without a dataset in between and without labels: what prediction reads."""

from distill.data.unlabelled.features import ChunkFeatures, FeatureEncoder
from distill.data.unlabelled.units import RawUnits

__all__ = ["ChunkFeatures", "FeatureEncoder", "RawUnits"]
