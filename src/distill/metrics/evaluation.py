"""One evaluation: the table, and what several metrics need of it, computed once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.functional.checks import is_binary
from distill.metrics.functional.ties import TiedRanks, TieOrder, order_by, tied_ranks
from distill.metrics.rows import ScoredRows, request_index
from distill.ops.segment import segment_count


@dataclass(frozen=True)
class TaskRows:
    """The observed rows of one task.

    Attributes:
        logits: `[n]`.
        labels: `[n]`.
        weight: `[n]`, or None where all weights are 1.
        user_id: `[n]` int64.
        request_id: `[n]` int64.
    """

    logits: Tensor
    labels: Tensor
    weight: Tensor | None
    user_id: Tensor
    request_id: Tensor

    @cached_property
    def is_binary(self) -> bool:
        """Whether all labels are 0 or 1."""
        return is_binary(self.labels)

    @cached_property
    def by_logit(self) -> TieOrder:
        """The rows in ascending order of their logit."""
        return order_by(self.logits)


class Evaluation:
    """A canonical table, with its requests, the rows of its tasks and its orders: each computed when first asked for.

    Args:
        rows: A canonical table.
        tasks: Names of its K tasks.
        predicted: Names of those that have logits; all if None.

    Raises:
        ConfigError: If the number of names is not K.
    """

    def __init__(self, rows: ScoredRows, tasks: Sequence[str], predicted: Collection[str] | None = None) -> None:
        if len(tasks) != rows.logits.shape[1]:
            raise ConfigError(
                "The tasks do not match the logits.",
                expected=f"{rows.logits.shape[1]} task names",
                found=", ".join(tasks),
            )
        self.rows = rows
        self.tasks = tuple(tasks)
        self._predicted = self.tasks if predicted is None else tuple(predicted)
        self._task_rows: dict[int, TaskRows] = {}
        self._ranks: dict[int | None, TiedRanks] = {}

    def columns(self, chosen: Sequence[str] | None, by_logit: bool = True) -> dict[str, int]:
        """Finds the columns of the chosen tasks.

        Args:
            chosen: The tasks wanted; None for all.
            by_logit: Whether their logits are wanted, so that tasks without are left out.

        Returns:
            Task name to its column.

        Raises:
            ConfigError: If a chosen task is not among them.
        """
        column = {task: k for k, task in enumerate(self.tasks)}
        unknown = [task for task in chosen or () if task not in column]
        if unknown:
            raise ConfigError(
                "A metric names a task that the schema does not have.",
                where="metrics.metrics.*.tasks",
                expected=f"some of {', '.join(self.tasks)}",
                found=", ".join(unknown),
            )
        found = column if chosen is None else {task: column[task] for task in chosen}
        return {task: k for task, k in found.items() if not by_logit or task in self._predicted}

    @cached_property
    def requests(self) -> tuple[Tensor, int]:
        """The request of each row `[N]` int64, sorted, and R; see `request_index`."""
        return request_index(self.rows)

    @cached_property
    def request_size(self) -> Tensor:
        """Candidates of each request `[R]` int64."""
        return segment_count(*self.requests)

    def units(self, column: int) -> tuple[Tensor, int]:
        """The request of each observed row of a task `[n]` int64, and R: rows of one request are not independent."""
        index, num_requests = self.requests
        observed = self.rows.observed[:, column]
        return index if bool(observed.all()) else index[observed], num_requests

    def observed_rows(self, column: int) -> TaskRows:
        """Takes the rows on which the task of `column` is observed."""
        if column not in self._task_rows:
            self._task_rows[column] = self._observed_rows(column)
        return self._task_rows[column]

    def ranks(self, column: int | None) -> TiedRanks:
        """Ranks all candidates of each request by the logit of a task, or by the ranking score (None)."""
        if column not in self._ranks:
            scores = self.rows.score if column is None else self.rows.logits[:, column]
            self._ranks[column] = tied_ranks(scores, *self.requests)
        return self._ranks[column]

    @cached_property
    def _weight(self) -> Tensor | None:
        return None if bool((self.rows.weight == 1).all()) else self.rows.weight

    def _observed_rows(self, column: int) -> TaskRows:
        rows, weight = self.rows, self._weight
        observed = rows.observed[:, column]
        if bool(observed.all()):
            logits, labels = rows.logits[:, column].contiguous(), rows.labels[:, column].contiguous()
            return TaskRows(logits, labels, weight, rows.user_id, rows.request_id)
        (kept,) = observed.nonzero(as_tuple=True)
        return TaskRows(
            rows.logits[:, column].index_select(0, kept),
            rows.labels[:, column].index_select(0, kept),
            None if weight is None else weight.index_select(0, kept),
            rows.user_id.index_select(0, kept),
            rows.request_id.index_select(0, kept),
        )
