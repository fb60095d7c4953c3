"""What a metric is, and the two kinds there are: of rows by task, and of requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.functional.checks import is_binary
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.rows import ScoredRows

SKIPPED = "_skipped"
"""Ending of the names under which metrics count the groups that they leave out."""


class Metric(Protocol):
    """Computes named numbers from a canonical table."""

    def __call__(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, float]:
        """Returns name to value; NaN where undefined; what `missing` names is left out."""
        ...

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> str | None:
        """Says which input the metric lacks and what is left out for it, or None."""
        ...


class TaskRows(NamedTuple):
    """The observed rows of one task.

    Attributes:
        logits: `[n]`.
        labels: `[n]` in {0, 1}.
        weight: `[n]` or None.
        user_id: `[n]` int64.
        request_id: `[n]` int64.
    """

    logits: Tensor
    labels: Tensor
    weight: Tensor | None
    user_id: Tensor
    request_id: Tensor


class PointwiseMetric(ABC):
    """Base of the metrics of binary tasks, each computed on the observed rows of its task.

    Args:
        tasks: Tasks to measure; None for all that are binary.
        weighted: Whether rows count by their weight, or alike.
    """

    def __init__(self, tasks: Sequence[str] | None = None, weighted: bool = True) -> None:
        self.tasks = None if tasks is None else tuple(tasks)
        self.weighted = weighted

    @abstractmethod
    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns name, without the task, to value."""

    def __call__(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, float]:
        values: dict[str, float] = {}
        for task, k in positions(tasks, self.tasks, rows).items():
            observed = rows.observed[:, k]
            labels = rows.labels[observed, k]
            if not is_binary(labels):
                continue
            part = TaskRows(
                rows.logits[observed, k],
                labels,
                rows.weight[observed] if self.weighted else None,
                rows.user_id[observed],
                rows.request_id[observed],
            )
            values |= {f"{task}/{name}": value for name, value in self.measure(part).items()}
        return values

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> str | None:
        """Names the tasks whose labels are not binary."""
        chosen = positions(tasks, self.tasks, rows)
        graded = [task for task, k in chosen.items() if not is_binary(rows.labels[rows.observed[:, k], k])]
        return f"labels outside {{0, 1}}: task {', '.join(graded)} left out" if graded else None


class RequestMetric(ABC):
    """Base of the metrics that are a mean over requests, each alike; those that are not used are counted.

    The row weight plays no part: it has no meaning for an order.
    """

    @abstractmethod
    def per_request(self, rows: ScoredRows, tasks: Sequence[str]) -> Mapping[str, PerRequest]:
        """Returns name to the values of the R requests of `request_index(rows)`; nothing for what is missing."""

    def __call__(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, result in self.per_request(rows, tasks).items():
            values[name] = float(result.mean())
            values[name + SKIPPED] = float(result.num_skipped)
        return values

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> str | None:
        """Says which input the metric lacks and what is left out for it, or None."""
        return None


def positions(tasks: Sequence[str], chosen: Sequence[str] | None, rows: ScoredRows) -> dict[str, int]:
    """Finds the columns of the chosen tasks.

    Args:
        tasks: Names of the K tasks.
        chosen: The tasks wanted; None for all.
        rows: The table.

    Returns:
        Task name to its column.

    Raises:
        ConfigError: If the number of names is not K, or a chosen task is not among them.
    """
    if len(tasks) != rows.logits.shape[1]:
        raise ConfigError(
            "The tasks do not match the logits",
            expected=f"{rows.logits.shape[1]} task names",
            found=", ".join(tasks),
        )
    column = {task: k for k, task in enumerate(tasks)}
    unknown = [task for task in chosen or () if task not in column]
    if unknown:
        raise ConfigError(
            "A metric names a task that the schema does not have",
            where="metrics.*.tasks",
            expected=f"some of {', '.join(tasks)}",
            found=", ".join(unknown),
        )
    return column if chosen is None else {task: column[task] for task in chosen}


def cutoffs(values: Sequence[int], where: str) -> tuple[int, ...]:
    """Checks a list of cut-offs.

    Raises:
        ConfigError: If it is empty, repeats itself, or holds anything but positive integers.
    """
    found = tuple(values)
    if not found or len(set(found)) < len(found) or any(not isinstance(k, int) or k < 1 for k in found):
        raise ConfigError(
            "The cut-offs of a ranking metric are not usable",
            where=where,
            expected="distinct positive integers",
            found=str(list(found)),
        )
    return found
