"""Train a cheap pre-ranker (student) to agree with an expensive ranker (teacher)."""

from distill.api import compare, prepare, score, select_fields, train

__version__ = "0.1.0"

__all__ = ["__version__", "compare", "prepare", "score", "select_fields", "train"]
