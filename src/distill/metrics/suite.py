"""All metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from distill.errors import ConfigError
from distill.metrics.base import SKIPPED, Metric, PointwiseMetric, RequestMetric
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.rows import ScoredRows


class MetricSuite:
    """Computes a set of metrics on one canonical table.

    Args:
        metrics: Name in the configuration to metric. The names of results come from the metrics themselves.
        counts: Whether results include the counts of skipped groups (names that end in `_skipped`).
    """

    def __init__(self, metrics: Mapping[str, Metric], counts: bool = True) -> None:
        self.metrics = dict(metrics)
        self.counts = counts

    @property
    def pointwise(self) -> MetricSuite:
        """The metrics of tasks that look at no order of candidates, and so at no ranking score."""
        found = {name: metric for name, metric in self.metrics.items() if isinstance(metric, PointwiseMetric)}
        return MetricSuite(found, self.counts)

    def compute(
        self, rows: ScoredRows, tasks: Sequence[str], predicted: Collection[str] | None = None
    ) -> dict[str, float]:
        """Computes every metric whose input is there.

        Args:
            rows: A canonical table.
            tasks: Names of its K tasks.
            predicted: Names of those that have logits; all if None.

        Returns:
            Name to value; NaN where a metric is undefined.

        Raises:
            ConfigError: If two metrics give a result of the same name.
        """
        evaluation = Evaluation(rows, tasks, predicted)
        values: dict[str, float] = {}
        for name, metric in self.metrics.items():
            found = metric(evaluation)
            _refuse_repeats(name, values, found)
            values |= found
        return {name: value for name, value in values.items() if self.counts or not name.endswith(SKIPPED)}

    def per_request(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, PerRequest]:
        """Computes the values of each request, for standard errors and paired tests, of the metrics that have them.

        Args:
            rows: A canonical table.
            tasks: Names of its K tasks.

        Returns:
            Name to the values of R requests, in the order of `request_ids(rows)`.
        """
        evaluation = Evaluation(rows, tasks)
        values: dict[str, PerRequest] = {}
        for metric in self.metrics.values():
            if isinstance(metric, RequestMetric):
                values |= metric.per_request(evaluation)
        return values

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, str]:
        """Says which metrics lack which input: name in the configuration to the reason."""
        evaluation = Evaluation(rows, tasks)
        reasons = {name: metric.missing(evaluation) for name, metric in self.metrics.items()}
        return {name: reason for name, reason in reasons.items() if reason is not None}


def _refuse_repeats(name: str, values: Mapping[str, float], found: Mapping[str, float]) -> None:
    repeated = sorted(values.keys() & found.keys())
    if repeated:
        raise ConfigError(
            "Two metrics give results of the same name",
            where=f"metrics.metrics.{name}",
            found=", ".join(repeated),
            remedy="give them different names, tasks or cut-offs",
        )
