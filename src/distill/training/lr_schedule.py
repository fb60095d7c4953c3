"""Learning-rate schedules as factors of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from distill.checks import require_integer, require_number
from distill.errors import ConfigError


@dataclass(frozen=True)
class LRSchedule:
    """Factor of every learning rate: a linear warm-up, then constant, or down to `final` by a line or a cosine.

    Attributes:
        shape: What follows the warm-up.
        warmup_steps: Steps from 0 to 1.
        final: Factor at the last step, for `linear` and `cosine`.
    """

    shape: Literal["constant", "linear", "cosine"]
    warmup_steps: int
    final: float

    def __post_init__(self) -> None:
        if self.shape not in ("constant", "linear", "cosine"):
            raise ConfigError(
                "Unknown schedule.",
                where="scheduler.shape",
                expected="constant, linear or cosine",
                found=str(self.shape),
            )
        require_integer("scheduler.warmup_steps", self.warmup_steps, 0)
        require_number("scheduler.final", self.final, 0.0, 1.0)

    def factor(self, step: int, total_steps: int) -> float:
        """Returns the factor at `step` of `total_steps` (both counted in optimiser steps)."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.shape == "constant":
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps))
        left = 1.0 - done if self.shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final + (1.0 - self.final) * left
