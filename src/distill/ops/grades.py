"""Gains of graded labels."""

from __future__ import annotations

from torch import Tensor

MAX_GRADE = 50
"""Greatest label with a gain: 2^50 and sums of it are finite in float32, 2^128 is not."""


def gains(grades: Tensor) -> Tensor:
    """Computes ``2^y - 1`` of grades in [0, 50], any shape.

    Reference:
        Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """
    return grades.exp2() - 1


def are_grades(labels: Tensor) -> Tensor:
    """Says which labels have a gain: those in [0, 50]; the shape of `labels`."""
    return (labels >= 0) & (labels <= MAX_GRADE)
