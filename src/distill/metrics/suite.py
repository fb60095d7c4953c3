"""All metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from distill.errors import ConfigError
from distill.metrics.base import SKIPPED, Metric, PointwiseMetric, Sampled
from distill.metrics.evaluation import Evaluation
from distill.metrics.goal import NEITHER, Goal
from distill.metrics.room import PLACES, Place, where_room_is
from distill.metrics.rows import ScoredRows


class MetricSuite:
    """Computes a set of metrics on one canonical table.

    Args:
        metrics: Name in the configuration to metric. The names of results come from the metrics themselves.
        counts: Whether results include the counts of skipped groups (names that end in `_skipped`).
        report: Names of the results that comparisons and report pages show, in this order; None for the main ones.
        device: Where they are computed: `auto`, where the model is, if that is a GPU with room for them and the process
            is the only one; `host`, on the CPU.

    Raises:
        ConfigError: If the device is none of these.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        counts: bool = True,
        report: Sequence[str] | None = None,
        device: Place = "auto",
    ) -> None:
        if device not in PLACES:
            raise ConfigError(
                "Metrics cannot be computed there.", where="metrics.device", expected="auto or host", found=device
            )
        self.metrics = dict(metrics)
        self.counts = counts
        self.report = None if report is None else tuple(report)
        self.device = device

    @property
    def pointwise(self) -> MetricSuite:
        """The metrics of tasks that look at no order of candidates, and so at no ranking score."""
        found = {name: metric for name, metric in self.metrics.items() if isinstance(metric, PointwiseMetric)}
        return MetricSuite(found, self.counts, device=self.device)

    @property
    def without_probabilities(self) -> MetricSuite:
        """The metrics of an order alone."""
        found = {name: metric for name, metric in self.metrics.items() if not metric.of_probabilities}
        return MetricSuite(found, self.counts, device=self.device)

    def goal(self, name: str) -> Goal:
        """What the metric that gives the result of this name says is better; neither, if none gives it.

        Args:
            name: Of a result, whatever stands before its last part (`val/`, a task).
        """
        stem = name.rsplit("/", 1)[-1]
        found = (metric.goals[stem] for metric in self.metrics.values() if stem in metric.goals)
        return next(found, NEITHER)

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
        return where_room_is(lambda table: self._values(Evaluation(table, tasks, predicted)), rows)

    def measure(
        self, rows: ScoredRows, tasks: Sequence[str], predicted: Collection[str] | None = None
    ) -> tuple[dict[str, float], dict[str, Sampled]]:
        """Computes every metric, and standard errors for the comparison with another model on the same rows.

        Args:
            rows: A canonical table.
            tasks: Names of its K tasks.
            predicted: Names of those that have logits; all if None.

        Returns:
            What `compute` returns; and of those results that have a standard error, the same with what it follows from
            (of means over requests, the values of the R requests in the order of `request_ids(rows)`), on the CPU.

        Raises:
            ConfigError: If two metrics give a result of the same name.
        """
        return where_room_is(lambda table: self.measured(Evaluation(table, tasks, predicted)), rows)

    def measured(self, evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Sampled]]:
        """Does what `measure` does, on an evaluation whose orders others use too."""
        sampled: dict[str, Sampled] = {}
        for metric in self.metrics.values():
            sampled |= {name: found.on_host() for name, found in metric.sampled(evaluation).items()}
        return self._values(evaluation), sampled

    def _values(self, evaluation: Evaluation) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, metric in self.metrics.items():
            found = metric(evaluation)
            _refuse_repeats(name, values, found)
            values |= found
        return {name: value for name, value in values.items() if self.counts or not name.endswith(SKIPPED)}

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, str]:
        """Says which metrics lack which input: name in the configuration to the reason."""
        evaluation = Evaluation(rows, tasks)
        reasons = {name: metric.missing(evaluation) for name, metric in self.metrics.items()}
        return {name: reason for name, reason in reasons.items() if reason is not None}


def _refuse_repeats(name: str, values: Mapping[str, float], found: Mapping[str, float]) -> None:
    repeated = sorted(values.keys() & found.keys())
    if repeated:
        raise ConfigError(
            "Two metrics give results of the same name.",
            where=f"metrics.metrics.{name}",
            found=", ".join(repeated),
            remedy="Give them different names, tasks or cut-offs.",
        )
