"""What all sample rules have in common: they label rows of a batch that the log left without a label, or add rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.batch import Batch, Origin, Stage
from distill.errors import ConfigError, SignalError
from distill.losses.setting import LossSetting, TaskInfo


class Sampler(nn.Module, ABC):
    """A rule that labels or adds rows of a training batch; observed labels of the log are never changed.

    Args:
        tasks: Names of the tasks that get labels; all of the schema's if None, or all that the teacher scores.
        weight: Weight of the rows that it labels, times their own.

    Raises:
        ConfigError: The weight is not positive.
    """

    needs_signals: ClassVar[bool] = False
    """Whether the rule reads the teacher's signals."""

    taught_origin: Origin | None = None
    """Origin of the rows that the rule adds, if the teacher is asked about them."""

    def __init__(self, tasks: Sequence[str] | None, weight: float) -> None:
        super().__init__()
        if not weight > 0:
            raise ConfigError(
                "Rows of weight 0 teach nothing.",
                where=f"{type(self).__name__}.weight",
                expected="more than 0",
                found=str(weight),
                remedy="Leave the sampler out.",
            )
        self.tasks = None if tasks is None else tuple(tasks)
        self.weight = float(weight)
        self.columns: list[int] = []

    def check(self, tasks: Sequence[TaskInfo], has_signals: bool) -> None:
        """Learns the tasks of the schema; can be called before anything is trained.

        Args:
            tasks: Tasks in the order of the labels' columns.
            has_signals: Whether batches will come with teacher signals.

        Raises:
            ConfigError: The rule asks for an unknown task, or for signals that there will not be.
        """
        kind = type(self).__name__
        known = [task.name for task in tasks]
        usable = tuple(task.name for task in tasks if task.taught or not self.needs_signals)
        wanted = usable if self.tasks is None else self.tasks
        if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
            raise ConfigError(
                f"The sampler {kind} names tasks that it cannot label.",
                where=f"{kind}.tasks",
                expected="one or more different tasks of: " + ", ".join(known),
                found=", ".join(wanted) or "none",
            )
        if self.needs_signals and not has_signals:
            raise ConfigError(
                f"The sampler {kind} needs teacher signals, but there is no teacher.",
                where=kind,
                remedy="Choose a teacher, or remove the sampler: sampling=none",
            )
        if untaught := [name for name in wanted if name not in usable]:
            raise ConfigError(
                f"The sampler {kind} would label a task that the teacher does not score.",
                where=f"{kind}.tasks",
                expected="some of " + ", ".join(usable),
                found=", ".join(untaught),
            )
        self.columns = [known.index(name) for name in wanted]

    def setup(self, setting: LossSetting) -> None:
        """Learns what the rule must know of the run; called once before training.

        Raises:
            ConfigError: As `check`; or the run lacks something else that the rule reads.
        """
        self.check(setting.tasks, setting.has_signals)

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch, which carries the signals of its rows, with more labels or more rows."""

    def unlabelled(self, batch: Batch) -> Tensor:
        """Returns which rows may get a label of which of the rule's tasks `[N, K']` bool: real rows without one."""
        return ~self.own_columns(batch.observed) & (batch.weight > 0).unsqueeze(1)

    def own_columns(self, values: Tensor) -> Tensor:
        """Takes the columns of the rule's tasks of values of all tasks `[N, K]`: `[N, K']`."""
        return torch.stack([values[:, column] for column in self.columns], dim=1)

    def widened(self, values: Tensor, like: Tensor) -> Tensor:
        """Puts values of the rule's tasks `[N, K']` into columns of all tasks `[N, K]`, with 0 in the others, of the
        type and shape of `like`."""
        wide = torch.zeros_like(like)
        for place, column in enumerate(self.columns):
            wide[:, column] = values[:, place]
        return wide

    def teachable(self, batch: Batch, unexposed: bool) -> tuple[Tensor, Tensor]:
        """Returns the teacher's logits of the rule's tasks `[N, K']` float32, and which rows may get a label of which.

        Args:
            batch: With signals.
            unexposed: Whether exposed rows may not.

        Raises:
            SignalError: The batch came without signals.
        """
        if batch.signals is None:
            raise SignalError("Pseudo-labels come from the teacher, but the batch came without signals.")
        eligible = self.unlabelled(batch) & batch.signals.valid.unsqueeze(1)
        if unexposed:
            eligible &= (batch.stage != Stage.EXPOSED).unsqueeze(1)
        return self.own_columns(batch.signals.logits.detach()).float(), eligible

    def labelled(
        self,
        batch: Batch,
        chosen: Tensor,
        labels: Tensor,
        positive: Tensor,
        origin: Tensor,
        share: Tensor | None = None,
        most_positive: int | None = None,
    ) -> Batch:
        """Writes labels into a batch.

        Args:
            batch: N rows.
            chosen: Which rows get a label of which of the rule's tasks `[N, K']` bool.
            labels: The labels `[N, K']`: values, such as a probability.
            positive: Which of them make a positive `[N, K']` bool, whatever their value.
            origin: Origin of rows that get any `[N]`; a row that has labels of the log keeps its own and its weight.
            share: What the weight of such a row is multiplied by, beside the rule's weight `[N]`; 1 if not given.
            most_positive: No more of them make a positive, if that is known without a look.
        """
        wide = self.widened(chosen, batch.observed)
        values, grades = self.widened(labels, batch.labels), self.widened(positive, batch.labels)
        weight = batch.weight * self.weight
        new = chosen.any(dim=1) & ~batch.observed.any(dim=1) & (batch.origin == Origin.LOG)
        return replace(
            batch,
            labels=torch.where(wide, values, batch.labels),
            grades=torch.where(wide, grades, batch.relevance),
            observed=batch.observed | wide,
            origin=torch.where(new, origin.to(batch.origin.dtype), batch.origin),
            weight=torch.where(new, weight if share is None else weight * share.to(weight.dtype), batch.weight),
            sizes=None if batch.sizes is None else batch.sizes.with_positives(most_positive),
        )


class Sampling(nn.Module):
    """Sample rules, applied one after the other: a row that one labelled is left alone by the next.

    Args:
        samplers: Name to rule.

    Raises:
        ConfigError: Something is not a sampler.
    """

    def __init__(self, samplers: Mapping[str, Any]) -> None:
        super().__init__()
        for name, sampler in samplers.items():
            if not isinstance(sampler, Sampler):
                raise ConfigError(
                    "The sampling holds something that is not a sampler.",
                    where=f"sampling.{name}",
                    expected="a sampler of distill.sampling",
                    found=type(sampler).__name__,
                )
        self.samplers = nn.ModuleList(samplers.values())

    @property
    def needs_signals(self) -> bool:
        """Whether any rule reads the teacher's signals."""
        return any(isinstance(s, Sampler) and s.needs_signals for s in self.samplers)

    @property
    def taught_origins(self) -> tuple[Origin, ...]:
        """Origins of rows that rules add and that the teacher is asked about."""
        origins = [s.taught_origin for s in self.samplers if isinstance(s, Sampler)]
        return tuple(origin for origin in origins if origin is not None)

    def check(self, tasks: Sequence[TaskInfo], has_signals: bool) -> None:
        """Checks every rule; see `Sampler.check`."""
        for sampler in self.samplers:
            if isinstance(sampler, Sampler):
                sampler.check(tasks, has_signals)

    def setup(self, setting: LossSetting) -> None:
        """Tells every rule of the run; see `Sampler.setup`."""
        for sampler in self.samplers:
            if isinstance(sampler, Sampler):
                sampler.setup(setting)

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with the labels and rows of all rules."""
        for sampler in self.samplers:
            batch = sampler(batch, step)
        return batch


def parse_stages(stages: Sequence[str], where: str) -> tuple[Stage, ...]:
    """Checks names of stages.

    Raises:
        ConfigError: One is unknown, or there is none.
    """
    known = {stage.name.lower(): stage for stage in Stage}
    if isinstance(stages, str) or not stages or any(name not in known for name in stages):
        raise ConfigError(
            "A sampler names stages that do not exist.",
            where=where,
            expected="a list of " + ", ".join(known),
            found=repr(stages),
        )
    return tuple(known[name] for name in stages)
