"""How a model learned: what was measured at each validation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LearningCurve:
    """What a fit measured at its validations.

    Attributes:
        monitor: The metric that the best checkpoint is chosen by.
        step: Optimiser steps until each validation.
        value: Of the metric; None where it was not finite.
        loss: The training loss that was logged last before it; None where none was.
    """

    monitor: str
    step: list[int] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)
