"""Tasks that can only happen after another: a purchase after a click."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distill.batch import Batch, Penalty
from distill.errors import ConfigError
from distill.schema import Task

_WHERE = "after"
After = Literal["in_order"] | Mapping[str, str]


class TaskOrder(nn.Module, ABC):
    """What a model makes of the order in which its binary tasks happen.

    The label of a later task is of all rows: 0 where the earlier one did not happen.

    Args:
        tasks: The model's.
        after: Task to the task that it happens after; or `in_order`: each binary task after the one before it in the
            schema.

    Raises:
        ConfigError: `after` names what is not a binary task, or goes round in a circle.

    Attributes:
        steps: Columns (later, earlier), in an order in which an earlier task is done with before it is read.
        penalises: Whether training adds a penalty over labelled rows.
    """

    penalises = False

    def __init__(self, tasks: Sequence[Task], after: After) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        binary = [task.name for task in tasks if task.kind == "binary"]
        if after == "in_order":
            after = dict(zip(binary[1:], binary[:-1], strict=True))
        pairs = _checked(after, binary)
        apart = {task.name for task in tasks if task.observed == pairs.get(task.name)}
        pairs = self._usable(pairs, apart)
        self.steps = [(names.index(later), names.index(pairs[later])) for later in _ordered(pairs)]

    @abstractmethod
    def _usable(self, pairs: Mapping[str, str], apart: Collection[str]) -> dict[str, str]:
        """Returns the pairs (later, earlier) to act on; `apart` are later tasks that are observed where the earlier one
        happened, and whose probability is hence one of those rows."""

    def head_logits(self, logits: Tensor) -> Tensor:
        """Maps logits of the tasks `[K]`, of their overall rates, to those that the heads must have for them `[K]`."""
        return logits

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Penalty]]:
        """Maps the heads' logits `[N, K]` to those of the tasks `[N, K]`, and says what the loss gets on top."""


OrderFactory = Callable[[Sequence[Task]], TaskOrder]


class ConditionalTasks(TaskOrder):
    """p_k = σ(h_k) · p_{after(k)}: a head says how probable a task is once the earlier one happened.

    In logits, z_k = −log(e^{−h} + e^{−z} + e^{−h−z}) with z of the earlier task, so that neither probability is ever
    rounded to 0 or 1. The label trains the product over all rows; no head is trained on rows that only a click chose.

    Raises:
        ConfigError: A later task is observed where the earlier one happened; or see `TaskOrder`.

    Reference: Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion
    Rate", SIGIR 2018, arXiv:1804.07931, eq. 1 to 3 (pCTCVR = pCTR · pCVR).
    """

    def _usable(self, pairs: Mapping[str, str], apart: Collection[str]) -> dict[str, str]:
        if apart:
            raise ConfigError(
                "The later task predicts all rows, so all rows must have its label.",
                where=_WHERE,
                expected=f"observed: all of {', '.join(apart)}",
                found="; ".join(f"{name} is observed where {pairs[name]} is 1" for name in apart),
                remedy="Label the rows without the earlier behaviour 0, or choose a model without task_order.",
            )
        return dict(pairs)

    def head_logits(self, logits: Tensor) -> Tensor:
        """Returns the heads of later tasks at the share p_k / p_{after(k)} of the earlier one; others as they are.

        Raises:
            ConfigError: A later task is not the rarer one.
        """
        rates, found = logits.double().sigmoid(), logits.clone()
        for later, earlier in self.steps:
            share = rates[later] / rates[earlier]
            if not share < 1:
                raise ConfigError(
                    "The head of a later task cannot start at its share of the earlier one.",
                    where=_WHERE,
                    expected="a task that is rarer than the one that it happens after",
                    found=f"tasks {later} and {earlier}: rates {float(rates[later]):.4g}, {float(rates[earlier]):.4g}",
                    remedy="Set model.head_bias=default, or name the tasks in the order in which they happen.",
                )
            found[later] = share.logit()
        return found

    def forward(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Penalty]]:
        """Maps the heads' logits `[N, K]` to those of the products; there is no penalty."""
        columns = list(logits.float().unbind(1))
        for later, earlier in self.steps:
            h, z = columns[later], columns[earlier]
            columns[later] = -torch.stack([-h, -z, -h - z], dim=1).logsumexp(1)
        return torch.stack(columns, dim=1), {}


class CalibratedTasks(TaskOrder):
    """Adds weight · Σ_k mean_i max(p_k − p_{after(k)}, 0) to the loss: a later task is not the more probable one.

    The mean is over the rows that the log labelled, by their weights. A later task that is observed where the earlier
    one happened has a probability of its own kind, and is left alone.

    Args:
        tasks: The model's.
        after: See `TaskOrder`.
        weight: α of the paper, which uses 0.6.

    Raises:
        ConfigError: The weight is negative; or see `TaskOrder`.

    Reference: Xi et al., 2021, arXiv:2105.08489, section 3.4 (behavioral expectation calibrator).
    """

    penalises = True

    def __init__(self, tasks: Sequence[Task], after: After, weight: float) -> None:
        super().__init__(tasks, after)
        if not weight >= 0:
            raise ConfigError(
                "The weight of a calibrator cannot be negative.",
                where="weight",
                expected="0 or more",
                found=str(weight),
            )
        self.weight = weight

    def _usable(self, pairs: Mapping[str, str], apart: Collection[str]) -> dict[str, str]:
        return {later: earlier for later, earlier in pairs.items() if later not in apart}

    def forward(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Penalty]]:
        """Returns the logits as they are, and in training the penalty `calibrator`."""
        if not (self.training and self.steps):
            return logits, {}
        probability = logits.float().sigmoid().unbind(1)
        excess = torch.stack([(probability[k] - probability[before]).relu() for k, before in self.steps]).sum(0)
        weight = batch.weight * batch.labelled.any(dim=1)
        return logits, {"calibrator": Penalty(self.weight * (excess * weight).sum(), weight.sum())}


def _checked(after: Mapping[str, str], binary: Sequence[str]) -> dict[str, str]:
    pairs = {str(later): str(earlier) for later, earlier in dict(after).items()}
    if unknown := [name for pair in pairs.items() for name in pair if name not in binary]:
        raise ConfigError(
            "The order of the tasks names something that is not a binary task of this data.",
            where=_WHERE,
            expected=", ".join(binary) or "a binary task",
            found=", ".join(unknown),
        )
    return pairs


def _ordered(pairs: Mapping[str, str]) -> list[str]:
    """Returns the later tasks so that each stands behind the one that it happens after."""
    done: list[str] = []
    while len(done) < len(pairs):
        ready = [later for later, earlier in pairs.items() if later not in done and earlier not in set(pairs) - {*done}]
        if not ready:
            raise ConfigError(
                "The order of the tasks is circular.",
                where=_WHERE,
                expected="a first task",
                found=", ".join(f"{later} after {earlier}" for later, earlier in pairs.items()),
            )
        done += ready
    return done
