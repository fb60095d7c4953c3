"""Steps that are looked at later: what is needed to say of one that it was not finite, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from distill.batch import Batch, LossReport, TeacherSignals
from distill.ops.ranks import world_size


@dataclass(frozen=True)
class KeptStep:
    """A step as it was.

    Attributes:
        number: Global step, counted from 0.
        report: Of its loss; the total is detached.
        batch: As the module scored it.
        signals: Of its rows.
        random_state: Of torch, before the step.
    """

    number: int
    report: LossReport
    batch: Batch | None
    signals: TeacherSignals | None
    random_state: Tensor | None


@dataclass(frozen=True)
class Greatest:
    """The greatest absolute value of a loss and of each gradient of a step: infinite or NaN where one is.

    Attributes:
        names: Of the gradients, behind an empty one for the loss.
        values: `[n]` float32.
        flag: Scalar float32: 1 if one of them is not finite on any rank, else 0.
    """

    names: tuple[str, ...]
    values: Tensor
    flag: Tensor

    @classmethod
    def of(cls, loss: Tensor, gradients: Mapping[str, Tensor]) -> Greatest:
        """Finds them; nothing waits for the device."""
        found = {"": loss, **{name: g for name, g in gradients.items() if g.numel()}}
        norms = torch._foreach_norm([tensor.detach() for tensor in found.values()], math.inf)
        values = torch.stack([norm.float() for norm in norms])
        flag = 1.0 - values.isfinite().all().float()
        if world_size() > 1:
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return cls(tuple(found), values, flag)

    def not_finite(self) -> list[str]:
        """Waits for the device and returns the names of gradients that are not finite."""
        bad = (~self.values.isfinite()).tolist()
        return [name for name, is_bad in zip(self.names, bad, strict=True) if is_bad and name]


class KeptSteps:
    """Steps since the last look, with the greatest value of each of their gradients.

    Attributes:
        flag: Scalar float32 on the device: 1 from the first step on that was not finite on any rank. None before the
            first step. An optimiser that withholds its steps by it leaves the weights as they were before that step.
    """

    def __init__(self) -> None:
        self.flag: Tensor | None = None
        self._steps: list[tuple[KeptStep, Greatest]] = []

    def raised(self, flag: Tensor) -> Tensor:
        """Raises the flag if that of a step is raised, and returns it: the same tensor at every step."""
        if self.flag is None:
            self.flag = flag.clone()
        return torch.maximum(self.flag, flag, out=self.flag)

    def keep(self, step: KeptStep, greatest: Greatest) -> None:
        """Keeps a step."""
        self._steps.append((step, greatest))

    def look(self) -> tuple[KeptStep, list[str]] | None:
        """Waits for the device and forgets the steps.

        Returns:
            The first step that was not finite on any rank, and the names of this rank's gradients that were not; None
            if there is none.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return None
        flags = torch.stack([greatest.flag for _, greatest in steps]).tolist()
        if not any(flags):
            return None
        step, greatest = steps[flags.index(1.0)]
        return step, greatest.not_finite()
