"""Metrics of predictions, row by row: of the observed rows of every binary task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from distill.batch import MISSING_KEY
from distill.errors import ConfigError
from distill.metrics import functional
from distill.metrics.base import SKIPPED, PointwiseMetric
from distill.metrics.evaluation import TaskRows
from distill.ops.keys import apart


class AUC(PointwiseMetric):
    """`<task>/auc`: area under the ROC curve over all rows; ties ½; NaN when one class is absent."""

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `auc`."""
        return {"auc": float(functional.auc(rows.logits, rows.labels, self.weight(rows), rows.by_logit))}


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
            raise ConfigError("GAUC is asked for by an unknown group", expected="user or request", found=str(by))
        self.by = by

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `gauc`, `uauc` and the count of skipped groups."""
        group = rows.request_id
        if self.by == "user":
            group = apart(rows.user_id, rows.user_id == MISSING_KEY, rows.request_id)
        prefix = "" if self.by == "user" else "request_"
        result = functional.grouped_auc(rows.logits, rows.labels, group, self.weight(rows), rows.by_logit)
        return {
            f"{prefix}gauc": float(result.weighted),
            f"{prefix}uauc": float(result.unweighted),
            f"{prefix}gauc{SKIPPED}": float(result.num_skipped),
        }


class LogLoss(PointwiseMetric):
    """`<task>/logloss`: mean negative log-likelihood, in nats."""

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `logloss`."""
        return {"logloss": float(functional.logloss(rows.logits, rows.labels, self.weight(rows)))}


class Calibration(PointwiseMetric):
    """`<task>/pcoc`, predicted over observed positives, and `<task>/ece`, the expected calibration error.

    Args:
        num_bins: Bins of equal mass of the calibration error.
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    def __init__(self, num_bins: int = 20, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        super().__init__(tasks, weighted)
        self.num_bins = num_bins

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `pcoc` and `ece`."""
        probs = rows.logits.double().sigmoid()
        ece = functional.expected_calibration_error(probs, rows.labels, self.num_bins, self.weight(rows), rows.by_logit)
        return {"pcoc": float(functional.pcoc(probs, rows.labels, self.weight(rows))), "ece": float(ece)}


class Threshold(PointwiseMetric):
    """Precision, recall and F1 of prob ≥ threshold: `<task>/precision_p0.5`, `<task>/recall_p0.5`, `<task>/f1_p0.5`.

    NaN where a denominator is 0.

    Args:
        threshold: The threshold on the probability; it is part of the names.
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    def __init__(self, threshold: float = 0.5, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        super().__init__(tasks, weighted)
        self.threshold = threshold

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `precision_p…`, `recall_p…` and `f1_p…`."""
        probs = rows.logits.double().sigmoid()
        result = functional.precision_recall_f1(probs, rows.labels, self.threshold, self.weight(rows))
        return {f"{name}_p{self.threshold:g}": float(value) for name, value in result._asdict().items()}
