"""Metrics of predictions, row by row: of the observed rows of every binary task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.metrics import functional
from distill.metrics.base import SKIPPED, PointwiseMetric
from distill.metrics.evaluation import TaskRows
from distill.metrics.functional.auc import mean_of_groups
from distill.metrics.functional.calibration import calibration_error_parts
from distill.metrics.functional.influence import Influence, auc_influence, ratio_influence
from distill.metrics.functional.logloss import row_losses
from distill.metrics.goal import DOWN, UP, Goal


class AUC(PointwiseMetric):
    """`<task>/auc`: area under the ROC curve over all rows; ties ½; NaN when one class is absent."""

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {"auc": UP}

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `auc`."""
        return {"auc": float(functional.auc(rows.logits, rows.labels, self.weight(rows), rows.by_logit))}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `auc`."""
        found = auc_influence(rows.logits, rows.labels, unit, num_units, self.weight(rows), rows.by_logit)
        return {"auc": found}


class GroupedAUC(PointwiseMetric):
    """AUC within groups: `<task>/gauc`, the mean weighted by impressions, and `<task>/uauc`, the unweighted mean.

    By user under these names; by request under `<task>/request_gauc` and `<task>/request_uauc`. One-class groups are
    skipped and counted as `<task>/gauc_skipped`. A request whose user is not known is a group of its own.

    Args:
        by: What a group is: `user` or `request`.
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    def __init__(
        self, by: Literal["user", "request"] = "user", tasks: Sequence[str] | None = None, weighted: bool = True
    ) -> None:
        super().__init__(tasks, weighted)
        if by not in ("user", "request"):
            raise ConfigError("GAUC cannot group by this.", expected="user or request", found=str(by))
        self.by = by
        self._prefix = "" if by == "user" else "request_"

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {f"{self._prefix}gauc": UP, f"{self._prefix}uauc": UP}

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `gauc`, `uauc` and the count of skipped groups."""
        result = mean_of_groups(*rows.auc_within(self.by == "user", self.weighted))
        return {
            f"{self._prefix}gauc": float(result.weighted),
            f"{self._prefix}uauc": float(result.unweighted),
            f"{self._prefix}gauc{SKIPPED}": float(result.num_skipped),
        }

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `gauc` and `uauc`, moved by their groups: a user's requests are not independent of each other."""
        groups, impressions = rows.auc_within(self.by == "user", self.weighted)
        (used,) = groups.used.nonzero(as_tuple=True)
        aucs, weight, num_groups = groups.values[used], impressions[used], groups.used.numel()
        return {
            f"{self._prefix}gauc": ratio_influence(weight * aucs, weight, used, num_groups),
            f"{self._prefix}uauc": ratio_influence(aucs, torch.ones_like(aucs), used, num_groups),
        }


class LogLoss(PointwiseMetric):
    """`<task>/logloss`: mean negative log-likelihood, in nats."""

    of_probabilities = True

    @property
    def goals(self) -> Mapping[str, Goal]:
        """Less is better."""
        return {"logloss": DOWN}

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `logloss`."""
        return {"logloss": float(functional.logloss(rows.logits, rows.labels, self.weight(rows)))}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `logloss`."""
        weight = _or_ones(self.weight(rows), rows)
        losses = row_losses(rows.logits, rows.labels)
        return {"logloss": ratio_influence(weight * losses, weight, unit, num_units)}


class Calibration(PointwiseMetric):
    """`<task>/pcoc`, predicted over observed positives, and `<task>/ece`, the expected calibration error.

    Args:
        num_bins: Bins of equal mass of the calibration error.
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    of_probabilities = True

    @property
    def goals(self) -> Mapping[str, Goal]:
        """PCOC is best at 1, and less calibration error is better."""
        return {"pcoc": Goal("target", 1.0), "ece": DOWN}

    def __init__(self, num_bins: int = 20, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        super().__init__(tasks, weighted)
        self.num_bins = num_bins

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `pcoc` and `ece`."""
        probs = rows.probs
        ece = functional.expected_calibration_error(probs, rows.labels, self.num_bins, self.weight(rows), rows.by_logit)
        return {"pcoc": float(functional.pcoc(probs, rows.labels, self.weight(rows))), "ece": float(ece)}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `pcoc` and `ece`."""
        probs, weight = rows.probs, _or_ones(self.weight(rows), rows)
        gaps, masses = calibration_error_parts(probs, rows.labels, self.num_bins, self.weight(rows), rows.by_logit)
        return {
            "pcoc": ratio_influence(weight * probs, weight * rows.labels, unit, num_units),
            "ece": ratio_influence(gaps, masses, unit, num_units),
        }


class Threshold(PointwiseMetric):
    """Precision, recall and F1 of prob ≥ threshold: `<task>/precision_p0.5`, `<task>/recall_p0.5`, `<task>/f1_p0.5`.

    NaN where a denominator is 0.

    Args:
        threshold: The threshold on the probability; it is part of the names.
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    of_probabilities = True

    def __init__(self, threshold: float = 0.5, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        super().__init__(tasks, weighted)
        self.threshold = threshold

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {f"{name}_p{self.threshold:g}": UP for name in ("precision", "recall", "f1")}

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `precision_p…`, `recall_p…` and `f1_p…`."""
        probs = rows.probs
        result = functional.precision_recall_f1(probs, rows.labels, self.threshold, self.weight(rows))
        return {f"{name}_p{self.threshold:g}": float(value) for name, value in result._asdict().items()}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `precision_p…`, `recall_p…` and `f1_p…`."""
        weight = _or_ones(self.weight(rows), rows)
        predicted = weight * (rows.probs >= self.threshold)
        positive, hits = weight * rows.labels, predicted * rows.labels
        parts = {"precision": (hits, predicted), "recall": (hits, positive), "f1": (2 * hits, predicted + positive)}
        return {
            f"{name}_p{self.threshold:g}": ratio_influence(above, below, unit, num_units)
            for name, (above, below) in parts.items()
        }


def _or_ones(weight: Tensor | None, rows: TaskRows) -> Tensor:
    return torch.ones_like(rows.labels, dtype=torch.float64) if weight is None else weight.to(torch.float64)
