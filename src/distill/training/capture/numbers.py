"""Numbers of the host that a recorded step reads on the device: learning rates, and what follows a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distill.losses import CompositeLoss
from distill.losses.schedule import Constant
from distill.training.combined import CombinedOptimizer
from distill.training.touched_rows import TouchedRows

_Group = dict[str, Any]


class _Number:
    """A scalar that is written when its number is another one than before."""

    def __init__(self, of: Callable[[int], float], dtype: torch.dtype, device: torch.device) -> None:
        self.scalar = torch.zeros((), dtype=dtype, device=device)
        self._of = of
        self._written = 0.0

    def write(self, step: int) -> None:
        number = self._of(step)
        if number != self._written:
            self.scalar.fill_(number)
            self._written = number


class DeviceNumbers:
    """Makes optimisers and loss terms read scalars instead of the host's numbers.

    Learning rates are float32 on a GPU, as torch's fused AdamW wants them there, and float64 elsewhere. Numbers of loss
    terms that stay the same are none of them.

    Args:
        optimizer: Of the module; its rates are set by the schedule on the host, as without a recording.
        loss: Its loss, set up.
        device: Where both compute.
    """

    def __init__(self, optimizer: CombinedOptimizer, loss: CompositeLoss, device: torch.device) -> None:
        self._capturable = device.type == "cuda"
        rate_type = torch.float32 if self._capturable else torch.float64
        self._groups: list[tuple[_Group, _Number]] = []
        self._tables: list[tuple[TouchedRows, dict[Tensor, _Number]]] = []
        for part in optimizer.optimizers.values():
            if isinstance(part, TouchedRows):
                rates = [(group, param) for group in part.param_groups for param in group["params"]]
                numbers = {param: _Number(_rate_of(part, param, group), rate_type, device) for group, param in rates}
                self._tables.append((part, numbers))
            else:
                self._groups += [(g, _Number(_lr_of(g), rate_type, device)) for g in part.param_groups]
                # torch would warn of a step that could be captured and is not.
                part._warned_capturable_if_run_uncaptured = True
        planned = [p for term in loss.terms_and_adapter().values() for p in term.schedules.values()]
        moving = [p for p in planned if not isinstance(p.schedule, Constant)]
        self._terms = list(loss.named_terms().values())
        self._step = _Number(lambda step: step, torch.int64, device)
        self._planned = [(p, _Number(p.schedule.value, torch.float32, device)) for p in moving]

    def write(self, step: int) -> None:
        """Writes the numbers of a step."""
        of_tables = [number for _, numbers in self._tables for number in numbers.values()]
        for number in [self._step, *of_tables, *(n for _, n in self._groups), *(n for _, n in self._planned)]:
            number.write(step)

    def count(self) -> None:
        """Counts a step, where the host counts; parameters without a gradient yet have none to count."""
        for part, numbers in self._tables:
            for param in numbers:
                if part.state.get(param):
                    part.count(param)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Makes optimisers and terms read the scalars within."""
        before = [(group, group["lr"], group["capturable"]) for group, _ in self._groups]
        try:
            for group, number in self._groups:
                group["lr"], group["capturable"] = number.scalar, self._capturable
            for part, numbers in self._tables:
                part.rates = {param: number.scalar for param, number in numbers.items()}
            for planned, number in self._planned:
                planned.on_device = number.scalar
            for term in self._terms:
                term.step_on_device = self._step.scalar
            yield
        finally:
            for group, rate, capturable in before:
                group["lr"], group["capturable"] = rate, capturable
            for part, _ in self._tables:
                part.rates = None
            for planned, _ in self._planned:
                planned.on_device = None
            for term in self._terms:
                term.step_on_device = None


def _lr_of(group: _Group) -> Callable[[int], float]:
    return lambda _: float(group["lr"])


def _rate_of(optimizer: TouchedRows, param: Tensor, group: _Group) -> Callable[[int], float]:
    return lambda _: optimizer.rate(param, group)
