"""How far predicted numbers are from the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill.metrics.base import PointwiseMetric
from distill.metrics.evaluation import TaskRows
from distill.metrics.functional.influence import Influence, ratio_influence
from distill.metrics.functional.reduce import weighted_mean
from distill.metrics.goal import DOWN, Goal


class RMSE(PointwiseMetric):
    """`<task>/rmse`: root of the mean squared difference of logit and label, in the label's unit; NaN for no rows.

    The logit of a graded or value task is the number that is predicted.

    Args:
        tasks: Tasks to measure; None for all that have a label other than 0 and 1.
        weighted: Whether rows count by their weight, or alike.
    """

    of_probabilities = True
    lacking = "no label outside {0, 1}"

    @property
    def goals(self) -> Mapping[str, Goal]:
        """Less is better."""
        return {"rmse": DOWN}

    def takes(self, rows: TaskRows) -> bool:
        """Whether the task was asked for, or has a label other than 0 and 1."""
        return self.tasks is not None or not rows.is_binary

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `rmse`."""
        return {"rmse": float(weighted_mean(_squares(rows), self.weight(rows)).sqrt())}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `rmse`, by that of the mean square: ∂√x/∂x = 1 / (2√x)."""
        weight, squares = self.weight(rows), _squares(rows)
        counts = torch.ones_like(squares) if weight is None else weight.to(torch.float64)
        mean = ratio_influence(counts * squares, counts, unit, num_units)
        root = mean.value.sqrt()
        return {"rmse": Influence(root, mean.parts / (2 * root), mean.used)}


def _squares(rows: TaskRows) -> Tensor:
    return (rows.logits.to(torch.float64) - rows.labels.to(torch.float64)).square()
