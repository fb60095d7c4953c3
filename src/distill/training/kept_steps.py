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


class KeptSteps:
    """Steps since the last look, with the greatest value of each of their gradients: infinite or NaN where one is.

    Attributes:
        flag: Scalar float32 on the device: 1 from the first step on that was not finite on any rank. None before the
            first step. An optimiser that withholds its steps by it leaves the weights as they were before that step.
    """

    def __init__(self) -> None:
        self.flag: Tensor | None = None
        self._steps: list[tuple[KeptStep, tuple[str, ...], Tensor, Tensor]] = []

    def add(self, step: KeptStep, gradients: Mapping[str, Tensor]) -> Tensor:
        """Keeps a step and returns the flag; nothing waits for the device."""
        found = {"": step.report.total, **{name: g for name, g in gradients.items() if g.numel()}}
        norms = torch._foreach_norm([tensor.detach() for tensor in found.values()], math.inf)
        greatest = torch.stack([norm.float() for norm in norms])
        flag = 1.0 - greatest.isfinite().all().float()
        if world_size() > 1:
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        self._steps.append((step, tuple(found), greatest, flag))
        self.flag = flag.clone() if self.flag is None else torch.maximum(self.flag, flag)
        return self.flag

    def look(self) -> tuple[KeptStep, list[str]] | None:
        """Waits for the device and forgets the steps.

        Returns:
            The first step that was not finite on any rank, and the names of this rank's gradients that were not; None
            if there is none.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return None
        flags = torch.stack([flag for *_, flag in steps]).tolist()
        if not any(flags):
            return None
        step, names, greatest, _ = steps[flags.index(1.0)]
        bad = (~greatest.isfinite()).tolist()
        return step, [name for name, is_bad in zip(names, bad, strict=True) if is_bad and name]
