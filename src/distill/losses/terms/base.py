"""What all loss terms have in common: their inputs, their result, and how they pick rows and tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, RankerOutput, TeacherSignals
from distill.errors import ConfigError, SignalError
from distill.losses.rows import parse_rows, select_rows
from distill.losses.schedule import Planned, Schedule, weight_schedule
from distill.losses.setting import LossSetting, TaskInfo


@dataclass(frozen=True)
class LossInputs:
    """What a loss term looks at.

    Attributes:
        batch: The batch, with the fields that the student sees.
        output: The student's output for it.
        signals: The teacher's signals for it, if there is a teacher.
        step: Global training step, counted from 0.
        encode_candidate: The student's item tower: candidate-side fields of B rows to their vectors `[B, …]`, with
            gradient. None if it has none.
        parameters: Dense weights of the student by name, for a loss that looks at their gradients.
    """

    batch: Batch
    output: RankerOutput
    signals: TeacherSignals | None
    step: int
    encode_candidate: Callable[[FeatureBlock], Tensor] | None = None
    parameters: Mapping[str, nn.Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class TermSums:
    """The sums behind the mean of a loss term, one entry a unit: a task, or the only one of a term without tasks.

    The mean is ``Σ_u weights_u · numerators_u / denominators_u``, where a unit without rows counts as 0. Numerators and
    denominators stay apart so that several processes can divide their own numerators by common denominators.

    Attributes:
        numerators: `[U]` weighted sums of the loss, with gradient; exactly 0 where the denominator is 0.
        denominators: `[U]` sums of the weights of the rows or requests that took part, detached.
        weights: `[U]` weights of the units, detached.
    """

    numerators: Tensor
    denominators: Tensor
    weights: Tensor

    def mean(self, denominators: Tensor | None = None) -> Tensor:
        """Divides and adds up.

        Args:
            denominators: Denominators `[U]` to divide by instead of the own ones.

        Returns:
            A scalar with gradient; 0, not NaN, if no row took part.
        """
        divisor = self.denominators if denominators is None else denominators
        factors = self.weights / torch.where(divisor > 0, divisor, 1.0)
        return torch.dot(factors.to(self.numerators.dtype), self.numerators)


def at_least_float32(values: Tensor) -> Tensor:
    """Returns half-precision values as float32 and others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class LossTerm(nn.Module, ABC):
    """One named part of the loss: a weight, the rows and the tasks that it acts on, and a formula.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Name of a row selector, or several for their union (see `distill.losses.rows.parse_rows`).
        tasks: Names of the tasks it acts on; all of the schema's if None, or all that the teacher scores.

    Raises:
        ConfigError: If the weight can be negative, or a row selector or a task list is malformed.
    """

    needs_signals: ClassVar[bool] = False
    """Whether the formula reads the teacher signals; if so, only rows that the teacher scored take part."""

    needs_probabilities: ClassVar[bool] = False
    """Whether the formula takes the teacher's logits for those of labels, so that an order alone is not enough."""

    takes: ClassVar[tuple[str, ...]] = ("binary", "graded", "value")
    """Kinds of tasks that the formula has a meaning for."""

    needs_shapes: ClassVar[bool] = False
    """Whether the sizes of what the formula computes depend on values, so that a GPU must be waited for."""

    over_pairs: ClassVar[bool] = False
    """Whether the formula goes over the pairs of a list, for which the host must know how long lists are: a GPU is
    waited for if it does not (`Batch.sizes`)."""

    counts_positives: ClassVar[bool] = False
    """Whether the formula lays out the positives of a batch, for which the host must know how many there are at most
    (`Batch.sizes`)."""

    reads: ClassVar[frozenset[str]] = frozenset()
    """Which of `item_id`, `request_id`, `user_id`, `row` and `columns` of a batch the formula computes with; those that
    no term names stay on the host where a batch is copied to a GPU."""

    compares: ClassVar[bool] = False
    """Whether the formula compares candidates of a request, so that one alone teaches nothing."""

    needs_both_classes: ClassVar[bool] = False
    """Whether the formula compares labels, so that those of one class teach it nothing."""

    step_on_device: Tensor | None = None
    """While steps are recorded, the step as a scalar of the device: the recording counts on (`step_of`)."""

    task_columns: Tensor
    task_weights: Tensor

    def __init__(self, weight: float | Schedule, rows: str | Sequence[str], tasks: Sequence[str] | None) -> None:
        super().__init__()
        kind = type(self).__name__
        self.schedules: dict[str, Planned] = {}
        self.weight = self.planned("weight", weight_schedule(weight, where=f"{kind}.weight"))
        self.rows = parse_rows(rows, where=f"{kind}.rows")
        if tasks is not None and (isinstance(tasks, str) or not all(isinstance(name, str) for name in tasks)):
            raise ConfigError("Tasks must be a list of names.", where=f"{kind}.tasks", found=repr(tasks))
        self.tasks = None if tasks is None else tuple(tasks)
        self.names: tuple[str, ...] = ()  # of the tasks, once they are known
        self.columns: tuple[int, ...] = ()  # of its tasks, among the schema's
        self._num_tasks = 0
        self._takes_all = True
        self.register_buffer("task_columns", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("task_weights", torch.empty(0), persistent=False)

    @property
    def uses_signals(self) -> bool:
        """Whether the formula or the choice of rows reads the teacher signals."""
        return self.needs_signals or "scored" in self.rows

    @property
    def reads_scores(self) -> bool:
        """Whether the term acts on what the teacher says of a task, so that the teacher must score the task."""
        return self.needs_signals

    @property
    def teacher_vectors(self) -> tuple[str, ...]:
        """Names of the teacher's hidden vectors that the formula reads."""
        return ()

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """Names of the tasks whose labels the term learns from, once `check` was called; none by default."""
        return ()

    def step_of(self, inputs: LossInputs) -> int | Tensor:
        """Returns the step, for a formula that computes with it; a scalar of the device within a recording."""
        return inputs.step if self.step_on_device is None else self.step_on_device

    def planned(self, argument: str, schedule: Schedule) -> Planned:
        """Takes the schedule of an argument, whose shares of training become steps in `setup`."""
        self.schedules[argument] = Planned(schedule)
        return self.schedules[argument]

    def check(self, tasks: Sequence[TaskInfo], has_signals: bool) -> None:
        """Learns the tasks of the schema; can be called before anything is trained.

        Args:
            tasks: Tasks in the order of the logits' columns.
            has_signals: Whether batches will come with teacher signals.

        Raises:
            ConfigError: If the term asks for an unknown task, for one of a kind that it does not take, or for signals
                that there will not be.
        """
        kind = type(self).__name__
        if self.uses_signals and not has_signals:
            raise ConfigError(
                f"The loss term {kind} needs teacher signals, but there is no teacher.",
                where=kind,
                expected="a configured source of teacher signals",
                found="none",
                remedy="Choose a teacher, or remove the term from the loss.",
            )
        known = [task.name for task in tasks]
        usable = [task.name for task in tasks if task.taught or not self.reads_scores]
        wanted = usable if self.tasks is None else list(self.tasks)
        if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
            raise ConfigError(
                f"The loss term {kind} names tasks that it cannot act on.",
                where=f"{kind}.tasks",
                expected="one or more different tasks of: " + ", ".join(known),
                found=", ".join(wanted) or "none",
            )
        if untaught := [name for name in wanted if name not in usable]:
            raise ConfigError(
                f"The loss term {kind} needs the teacher's score of a task that it does not score.",
                where=f"{kind}.tasks",
                expected="some of " + ", ".join(usable) if usable else "a teacher that scores a task",
                found=", ".join(untaught),
                remedy="Leave the task out of `tasks`, or declare its column under `teacher` in the schema.",
            )
        self._check_kinds([task for task in tasks if task.name in wanted], tasks)
        columns = [known.index(name) for name in wanted]
        device = self.task_columns.device
        self.names = tuple(wanted)
        self.columns = tuple(columns)
        self._num_tasks = len(known)
        self._takes_all = columns == list(range(len(known)))
        self.task_columns = torch.tensor(columns, dtype=torch.int64, device=device)
        self.task_weights = torch.tensor([tasks[k].weight for k in columns], device=device)

    def _check_kinds(self, wanted: Sequence[TaskInfo], tasks: Sequence[TaskInfo]) -> None:
        others = [task.name for task in wanted if task.kind not in self.takes]
        if others:
            kinds = " or ".join(self.takes)
            raise ConfigError(
                f"The loss term {type(self).__name__} wants {kinds} tasks.",
                where=f"{type(self).__name__}.tasks",
                expected=", ".join(task.name for task in tasks if task.kind in self.takes) or f"a {kinds} task",
                found=", ".join(others),
                remedy=f"Name {kinds} tasks in `tasks`, or choose another term.",
            )

    def setup(self, setting: LossSetting) -> None:
        """Learns what the term must know of the run; called once before training.

        Raises:
            ConfigError: As `check`; or the run lacks something else that the term reads.
        """
        self.check(setting.tasks, setting.has_signals)
        for schedule in self.schedules.values():
            schedule.plan(setting.total_steps)

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says on which candidates the term acts, before any of them is scored.

        Returns:
            `[N]` bool; the value and gradients of the term do not depend on the others.
        """
        rows = select_rows(self.rows, batch, signals)
        return rows & signals.valid if self.needs_signals and signals is not None else rows

    @abstractmethod
    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums of the term over the rows that it acts on."""

    def columns_of(self, values: Tensor) -> Tensor:
        """Takes the columns of the term's tasks.

        Args:
            values: `[N, K]`, a column for each task of the schema.

        Returns:
            `[N, K']`.

        Raises:
            ConfigError: If `setup` was not called or K is not the number of tasks it was given.
        """
        if not self._num_tasks:
            raise ConfigError(
                f"The loss term {type(self).__name__} was used before `setup`.",
                remedy="Call `setup` with the schema's tasks once before training.",
            )
        if values.dim() != 2 or values.shape[1] != self._num_tasks:
            raise ConfigError(
                f"The loss term {type(self).__name__} got a tensor that does not fit the schema's tasks.",
                expected=f"shape [N, {self._num_tasks}]",
                found=f"shape {list(values.shape)}",
            )
        if self._takes_all:
            return values
        if values.device != self.task_columns.device:  # a batch that is still on the host
            return torch.stack([values[:, column] for column in self.columns], dim=1)
        return values.index_select(1, self.task_columns)

    def student_logits(self, inputs: LossInputs) -> Tensor:
        """Returns the student's logits `[N, K']`, float32 or better, with gradient; for the teacher's word those of a
        head of its own, if there is one."""
        taught = inputs.output.taught if self.reads_scores else None
        return at_least_float32(self.columns_of(inputs.output.logits if taught is None else taught))

    def teacher_logits(self, inputs: LossInputs) -> Tensor:
        """Returns the teacher's logits `[N, K']` in the dtype of `student_logits`, detached.

        Raises:
            SignalError: If there are none or their shape is not that of the student's logits.
        """
        student = inputs.output.logits
        if inputs.signals is None or inputs.signals.logits.shape != student.shape:
            raise SignalError(
                f"The loss term {type(self).__name__} got no teacher logits that fit the student's.",
                expected=f"shape {list(student.shape)}",
                found="none" if inputs.signals is None else f"shape {list(inputs.signals.logits.shape)}",
                remedy="Let the teacher and the student predict the same tasks for the same batch.",
            )
        dtype = torch.promote_types(student.dtype, torch.float32)
        return self.columns_of(inputs.signals.logits.detach()).to(dtype)

    def selected(self, inputs: LossInputs) -> Tensor:
        """Returns which rows take part `[N]` bool; of a term that needs signals, only rows that the teacher scored."""
        return LossTerm.acts_on(self, inputs.batch, inputs.signals)

    def row_sums(self, values: Tensor, mask: Tensor, row_weight: Tensor) -> TermSums:
        """Sums values over rows (or requests), each task over the rows of its own mask.

        Args:
            values: `[B, K']` with gradient.
            mask: Which values take part, `[B, K']` or `[B, 1]` bool.
            row_weight: `[B]`, or `[B, K']` if it differs by task.

        Returns:
            Sums with one unit a task, weighted by the schema's task weights.
        """
        by_row = row_weight.detach().to(values.dtype)
        weights = mask * (by_row.unsqueeze(1) if by_row.dim() == 1 else by_row)
        numerators: Tensor = _MaskedSum.apply(values, mask, weights)  # type: ignore[no-untyped-call]
        denominators = weights.sum(0).expand_as(numerators)
        return TermSums(numerators, denominators, self.task_weights.to(values.dtype))


class _MaskedSum(torch.autograd.Function):
    """``Σ_b weights_bk · values_bk`` over the values of a mask, whatever the others are; one kernel backward.

    Shapes: values `[B, K]`; mask and weights, which are 0 outside the mask, `[B, K]` or `[B, 1]`.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.shape = values.shape
        return torch.where(mask, values, 0.0).mul_(weights).sum(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        return (grad_outputs[0] * weights).expand(ctx.shape), None, None
