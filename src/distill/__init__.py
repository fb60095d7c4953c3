"""Train a cheap pre-ranker (student) to agree with an expensive ranker (teacher)."""

from typing import TYPE_CHECKING, Any

from distill.errors import DistillError

if TYPE_CHECKING:
    from distill.api import compare, evaluate, export, predict, prepare, score, select_fields, train

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


def __getattr__(name: str) -> Any:
    """Returns a command as a function; a server that has `distill-serving` alone has none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'distill' has no attribute {name!r}")
    try:
        from distill import api
    except ImportError as error:
        raise ImportError(f"distill.{name} needs the distribution distill-ranker; this is distill-serving.") from error
    return getattr(api, name)
