"""Adapters of data sets: each writes or finds raw files and says what their columns mean."""

from distill.data.datasets.movielens import MovieLensSource
from distill.data.datasets.parquet import ParquetSource

__all__ = ["MovieLensSource", "ParquetSource"]
