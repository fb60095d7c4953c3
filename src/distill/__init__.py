"""Train a cheap pre-ranker (student) to agree with an expensive ranker (teacher)."""

from distill.api import compare, evaluate, export, predict, prepare, score, select_fields, train
from distill.errors import DistillError

__version__ = "0.1.0"

__all__ = [
    "DistillError",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "predict",
    "prepare",
    "score",
    "select_fields",
    "train",
]
