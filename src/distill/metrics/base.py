"""What a metric is, and the two kinds there are: of rows by task, and of requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Protocol

from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.evaluation import Evaluation, TaskRows
from distill.metrics.functional.influence import Influence
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.goal import Goal

Sampled = PerRequest | Influence
"""A number whose standard error is known: a mean over requests, or one that each unit moves by so much."""

SKIPPED = "_skipped"
"""Ending of the names under which metrics count the groups that they leave out."""


class Metric(Protocol):
    """Computes named numbers from an evaluation.

    Attributes:
        of_probabilities: Whether it compares probabilities with labels, so that an order alone has no value of it.
    """

    of_probabilities: bool

    @property
    def goals(self) -> Mapping[str, Goal]:
        """What is better of each result, by its name without the task."""
        ...

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        """Returns name to value; NaN where undefined; what `missing` names is left out."""
        ...

    def sampled(self, evaluation: Evaluation) -> Mapping[str, Sampled]:
        """Returns name to the same results with their standard errors; nothing for those that have none."""
        ...

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says which input the metric lacks and what is left out for it, or None."""
        ...


class PointwiseMetric(ABC):
    """Base of the metrics of a task's observed rows, row by row; of binary tasks, unless `takes` says otherwise.

    Args:
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    of_probabilities = False
    lacking = "labels outside {0, 1}"

    def __init__(self, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        self.tasks = None if tasks is None else tuple(tasks)
        self.weighted = weighted

    @abstractmethod
    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns name, without the task, to value."""

    @abstractmethod
    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns name, without the task, to the same value with what each unit moves it by.

        Args:
            rows: n observed rows of a task.
            unit: Request of each row, `[n]` int64 in `0..R-1`; metrics of groups take their groups instead.
            num_units: R.
        """

    @property
    @abstractmethod
    def goals(self) -> Mapping[str, Goal]:
        """What is better of each result, by its name without the task."""

    def takes(self, rows: TaskRows) -> bool:
        """Whether there is a value on the observed rows of a task: here, if all labels are 0 or 1."""
        return rows.is_binary

    def weight(self, rows: TaskRows) -> Tensor | None:
        """Returns the weights to count rows by, None for alike."""
        return rows.weight if self.weighted else None

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        values: dict[str, float] = {}
        for task, column in evaluation.columns(self.tasks).items():
            rows = evaluation.observed_rows(column)
            if self.takes(rows):
                values |= {f"{task}/{name}": value for name, value in self.measure(rows).items()}
        return values

    def sampled(self, evaluation: Evaluation) -> dict[str, Sampled]:
        """Returns the results with their standard errors."""
        found: dict[str, Sampled] = {}
        for task, column in evaluation.columns(self.tasks).items():
            rows = evaluation.observed_rows(column)
            if self.takes(rows):
                own = self.influences(rows, *evaluation.units(column))
                found |= {f"{task}/{name}": influence for name, influence in own.items()}
        return found

    def missing(self, evaluation: Evaluation) -> str | None:
        """Names the tasks whose labels are not of the kind that is measured."""
        chosen = evaluation.columns(self.tasks)
        other = [task for task, column in chosen.items() if not self.takes(evaluation.observed_rows(column))]
        return f"{self.lacking}: task {', '.join(other)} left out" if other else None


class RequestMetric(ABC):
    """Base of the metrics that are a mean over requests, each alike; those that are not used are counted.

    A request whose value would be the same whatever the order is not used: it would say nothing. The row weight plays
    no part, since it has no meaning for an order; only rows of weight 0 are not there.
    """

    of_probabilities = False

    @property
    @abstractmethod
    def goals(self) -> Mapping[str, Goal]:
        """What is better of each result, by its name without the task."""

    @abstractmethod
    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns name to the values of the R requests of the evaluation; nothing for what is missing."""

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, result in self._per_request(evaluation).items():
            values[name] = float(result.mean())
            values[name + SKIPPED] = float(result.num_skipped)
        return values

    def sampled(self, evaluation: Evaluation) -> Mapping[str, Sampled]:
        """Returns the results with their values by request."""
        return self._per_request(evaluation)

    def _per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """What `per_request` returns, found once for values and standard errors."""
        return evaluation.once(("per_request", id(self)), lambda: (self.per_request(evaluation), self))[0]

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says which input the metric lacks and what is left out for it, or None."""
        return None


class CutoffMetric(RequestMetric):
    """Base of the recalls: one result for each of some cut-offs, `…@<k>…`.

    Attributes:
        ks: The cut-offs.
    """

    ks: tuple[int, ...]

    def at(self, ks: Sequence[int]) -> CutoffMetric:
        """Returns the same metric at other cut-offs."""
        found = copy(self)
        found.ks = cutoffs(ks, "metrics.*.ks")
        return found


def cutoffs(values: Sequence[int], where: str) -> tuple[int, ...]:
    """Checks a list of cut-offs.

    Raises:
        ConfigError: If it is empty, repeats itself, or holds anything but positive integers.
    """
    found = tuple(values)
    if not found or len(set(found)) < len(found) or any(not isinstance(k, int) or k < 1 for k in found):
        raise ConfigError(
            "The cut-offs of a ranking metric are wrong.",
            where=where,
            expected="distinct positive integers",
            found=str(list(found)),
        )
    return found
