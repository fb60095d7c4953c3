"""Turns raw Parquet or CSV files into the model-ready dataset, fitting encodings on the training split only."""

from distill.data.prepare.known import KnownEncodings
from distill.data.prepare.pipeline import prepare

__all__ = ["KnownEncodings", "prepare"]
