"""Checks of what a metric is given."""

from __future__ import annotations

from torch import Tensor

from distill.errors import ConfigError, DataError


def is_binary(labels: Tensor) -> bool:
    """Tells whether all labels are 0 or 1."""
    return bool(((labels == 0) | (labels == 1)).all())


def require_binary(labels: Tensor) -> None:
    """Raises `DataError` unless all labels are 0 or 1."""
    if not is_binary(labels):
        raise DataError(
            "A metric for binary tasks got other labels.",
            expected="labels in {0, 1}",
            found=f"values from {float(labels.min())} to {float(labels.max())}",
            remedy="Use this metric for tasks of kind `binary` only.",
        )


def require_cutoff(k: int) -> None:
    """Raises `ConfigError` unless the cut-off of a top-k is at least 1."""
    if k < 1:
        raise ConfigError("The cut-off of a ranking metric is not positive.", expected="k ≥ 1", found=str(k))
