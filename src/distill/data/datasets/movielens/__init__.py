"""MovieLens ratings as requests: a rating session with what the user rated and sampled unrated films."""

from distill.data.datasets.movielens.source import MovieLensSource

__all__ = ["MovieLensSource"]
