"""Batches from the Parquet files of a dataset: planned, shuffled, sharded, resumable."""

from distill.data.stream.loader import BatchLoader
from distill.data.stream.part import iterate_part
from distill.data.stream.plan import EpochPlan, StreamOrder, plan_epoch
from distill.data.stream.resident import PlacedBatch, ResidentReader
from distill.data.stream.stream import SplitReader

__all__ = [
    "BatchLoader",
    "EpochPlan",
    "PlacedBatch",
    "ResidentReader",
    "SplitReader",
    "StreamOrder",
    "iterate_part",
    "plan_epoch",
]
