"""One evaluation: the table, and what several metrics need of it, computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from distill.batch import MISSING_KEY
from distill.errors import ConfigError
from distill.metrics.functional.auc import auc_of_groups
from distill.metrics.functional.checks import is_binary
from distill.metrics.functional.numbered import Numbered, numbered
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.requests import Requests
from distill.metrics.functional.ties import TiedRanks, TieOrder, order_by, tied_ranks
from distill.metrics.rows import ScoredRows, request_index
from distill.ops.keys import apart

V = TypeVar("V")


@dataclass(frozen=True)
class Groups:
    """What rows are grouped by; tasks that are observed on all rows share it.

    Attributes:
        user_id: `[n]` int64.
        request_id: `[n]` int64.
    """

    user_id: Tensor
    request_id: Tensor

    @cached_property
    def by_user(self) -> Numbered:
        """Numbers of the users; a request whose user is not known is a group of its own."""
        return numbered(apart(self.user_id, self.user_id == MISSING_KEY, self.request_id))

    @cached_property
    def by_request(self) -> Numbered:
        """Numbers of the requests."""
        return numbered(self.request_id)


@dataclass(frozen=True)
class TaskRows:
    """The observed rows of one task.

    Attributes:
        logits: `[n]`.
        labels: `[n]`.
        weight: `[n]`, or None where all weights are 1.
        groups: Of the n rows.
        found: What `auc_within` found before.
    """

    logits: Tensor
    labels: Tensor
    weight: Tensor | None
    groups: Groups
    found: dict[tuple[bool, bool], tuple[PerRequest, Tensor]] = field(default_factory=dict)

    @property
    def user_id(self) -> Tensor:
        """`[n]` int64."""
        return self.groups.user_id

    @property
    def request_id(self) -> Tensor:
        """`[n]` int64."""
        return self.groups.request_id

    @cached_property
    def is_binary(self) -> bool:
        """Whether all labels are 0 or 1."""
        return is_binary(self.labels)

    @cached_property
    def by_logit(self) -> TieOrder:
        """The rows in ascending order of their logit."""
        return order_by(self.logits)

    @cached_property
    def probs(self) -> Tensor:
        """The probabilities `[n]` float64."""
        return self.logits.to(torch.float64).sigmoid_()

    def auc_within(self, by_user: bool, weighted: bool) -> tuple[PerRequest, Tensor]:
        """The AUC within each user, or request, and its impressions, found once; see `auc_of_groups`."""
        if (by_user, weighted) not in self.found:
            group = self.groups.by_user if by_user else self.groups.by_request
            weight = self.weight if weighted else None
            self.found[by_user, weighted] = auc_of_groups(self.logits, self.labels, group, weight, self.by_logit)
        return self.found[by_user, weighted]


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
        self._found: dict[Hashable, Any] = {}

    def once(self, key: Hashable, find: Callable[[], V]) -> V:
        """Returns what `find` returned when it was first asked for by this key."""
        if key not in self._found:
            self._found[key] = find()
        found: V = self._found[key]
        return found

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
    def grouped(self) -> Requests:
        """The requests, and what orders within them share."""
        return Requests(*self.requests)

    @property
    def request_size(self) -> Tensor:
        """Candidates of each request `[R]` int64."""
        return self.grouped.size

    @cached_property
    def items(self) -> Numbered:
        """The items of all rows; what is not known is one of them."""
        return numbered(self.rows.item_id)

    def units(self, column: int) -> tuple[Tensor, int]:
        """The request of each observed row of a task `[n]` int64, and R: rows of one request are not independent."""
        index, num_requests = self.requests
        kept = self.observed(column)
        return index if kept is None else index.index_select(0, kept), num_requests

    def observed(self, column: int) -> Tensor | None:
        """The rows on which a task is observed, by position `[n]` int64; None where it is on all."""

        def find() -> Tensor | None:
            observed = self.rows.observed[:, column]
            return None if bool(observed.all()) else observed.nonzero()[:, 0]

        return self.once(("observed", column), find)

    def observed_rows(self, column: int) -> TaskRows:
        """Takes the rows on which the task of `column` is observed."""
        if column not in self._task_rows:
            self._task_rows[column] = self._observed_rows(column)
        return self._task_rows[column]

    def ranks(self, column: int | None) -> TiedRanks:
        """Ranks all candidates of each request by the logit of a task, or by the ranking score (None)."""
        if column not in self._ranks:
            scores = self.rows.score if column is None else self.rows.logits[:, column]
            self._ranks[column] = tied_ranks(scores, *self.requests, self.grouped)
        return self._ranks[column]

    def labels(self, column: int) -> Tensor:
        """Labels of a task `[N]`, 0 where they are not observed."""

        def find() -> Tensor:
            labels = self.rows.labels[:, column]
            everywhere = self.observed(column) is None
            return labels.contiguous() if everywhere else torch.where(self.rows.observed[:, column], labels, 0)

        return self.once(("labels", column), find)

    def positives(self, column: int) -> Tensor:
        """The rows with an observed label above 0, by position `[P]` int64."""
        return self.once(("positives", column), lambda: (self.labels(column) > 0).nonzero()[:, 0])

    @cached_property
    def _weight(self) -> Tensor | None:
        return None if bool((self.rows.weight == 1).all()) else self.rows.weight

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self.rows.user_id, self.rows.request_id)

    def _observed_rows(self, column: int) -> TaskRows:
        rows, weight, kept = self.rows, self._weight, self.observed(column)
        logits, labels = rows.logits[:, column], rows.labels[:, column]
        if kept is None:
            return TaskRows(logits.contiguous(), self.labels(column), weight, self._groups)
        groups = Groups(*(ids.index_select(0, kept) for ids in (rows.user_id, rows.request_id)))
        weight = None if weight is None else weight.index_select(0, kept)
        return TaskRows(logits.index_select(0, kept), labels.index_select(0, kept), weight, groups)
