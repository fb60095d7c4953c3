"""Learning-rate schedules as factors of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from distill.checks import require_integer, require_number
from distill.errors import ConfigError

RESTARTS = "restarts"
SHAPES = ("constant", "linear", "cosine", RESTARTS)


@dataclass(frozen=True)
class LRSchedule:
    """Factor of every learning rate: a linear warm-up, then constant, or down to `final` by a line or by cosines.

    `restarts` are cosines of 1, 2, 4, … epochs, each from the full rate on (SGDR with T_0 = 1 and T_mult = 2:
    Loshchilov and Hutter, 2017, arXiv:1608.03983): every cycle ends with a model that has settled, so that nobody has
    to know beforehand for how many epochs to train. The last cycle takes the epochs that make no whole cycle.

    Attributes:
        shape: What follows the warm-up.
        warmup_steps: Steps from 0 to 1.
        final: Factor at the last step, for `linear` and `cosine`, and at the end of every cycle.
    """

    shape: Literal["constant", "linear", "cosine", "restarts"]
    warmup_steps: int
    final: float

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigError(
                "Unknown schedule.",
                where="scheduler.shape",
                expected=" or ".join([", ".join(SHAPES[:-1]), SHAPES[-1]]),
                found=str(self.shape),
            )
        require_integer("scheduler.warmup_steps", self.warmup_steps, 0)
        require_number("scheduler.final", self.final, 0.0, 1.0)

    def factor(self, step: int, total_steps: int, epoch_steps: int | None = None) -> float:
        """Returns the factor at a step.

        Args:
            step: Counted in optimiser steps, from 0.
            total_steps: Of the whole training.
            epoch_steps: Of an epoch; the training is one if not given.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.shape == "constant":
            return 1.0
        begin, end = self._cycle(step, total_steps, epoch_steps or total_steps)
        begin = max(begin, min(self.warmup_steps, end))
        done = min(1.0, (step - begin) / max(1.0, end - begin))
        left = 1.0 - done if self.shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final + (1.0 - self.final) * left

    def _cycle(self, step: int, total_steps: int, epoch_steps: int) -> tuple[int, int]:
        """Returns the steps at which the cycle of a step begins and ends; without restarts there is one."""
        if self.shape != RESTARTS:
            return 0, total_steps
        ends = [end * epoch_steps for end in cycle_ends(total_steps, epoch_steps)[:-1]]
        before = [end for end in ends if end <= step]
        return (before[-1] if before else 0), (ends[len(before)] if len(before) < len(ends) else total_steps)


def cycle_ends(total_steps: int, epoch_steps: int = 1) -> list[int]:
    """Returns after how many epochs the cycles of `restarts` end: 1, 3, 7, …; the last one ends with the training,
    which may be within an epoch.

    Args:
        total_steps: Of the whole training; epochs, if `epoch_steps` is not given.
        epoch_steps: Of an epoch.
    """
    epochs = math.ceil(total_steps / epoch_steps)
    ends = [0]
    while 2 * ends[-1] + 1 <= epochs:
        ends.append(2 * ends[-1] + 1)
    return [*ends[1:-1], epochs]
