"""What a recorded step says of itself, in one vector, so that a copy of it is one copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.batch import LossReport
from distill.training.kept_steps import Greatest


@dataclass(frozen=True)
class Outcome:
    """The loss of a step, its parts and weights, and the greatest values of its gradients.

    Attributes:
        values: The total, the parts, the weights that are scalars, the flag and the greatest values, side by side
            `[n]` float32; without the last two where gradients were not looked over.
        parts: Names of the parts.
        weights: Names of all weights; of those that are numbers of the host, the number.
        greatest: Names of the greatest values; None where gradients were not looked over.
    """

    values: Tensor
    parts: tuple[str, ...]
    weights: Mapping[str, float | None]
    greatest: tuple[str, ...] | None

    @classmethod
    def of(cls, report: LossReport, greatest: Greatest | None) -> Outcome:
        """Puts the values of a step side by side."""
        learned = [weight for weight in report.weights.values() if isinstance(weight, Tensor)]
        scalars = [report.total.detach(), *report.parts.values(), *learned]
        values = torch.stack([scalar.float() for scalar in scalars])
        if greatest is not None:
            values = torch.cat([values, greatest.flag.view(1), greatest.values])
        weights = {name: None if isinstance(weight, Tensor) else weight for name, weight in report.weights.items()}
        return cls(values, tuple(report.parts), weights, None if greatest is None else greatest.names)

    def copied(self) -> tuple[LossReport, Greatest | None]:
        """Returns what the step says, for good: the next replay does not change it."""
        learned = [name for name, weight in self.weights.items() if weight is None]
        count = 1 + len(self.parts) + len(learned)
        values = self.values.clone()
        total, *others = values[:count].unbind()
        parts, scalars = others[: len(self.parts)], iter(others[len(self.parts) :])
        weights = {name: next(scalars) if weight is None else weight for name, weight in self.weights.items()}
        report = LossReport(total, dict(zip(self.parts, parts, strict=True)), weights)
        if self.greatest is None:
            return report, None
        return report, Greatest(self.greatest, values[count + 1 :], values[count])
