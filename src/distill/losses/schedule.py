"""Weights and temperatures that follow the training step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from distill.errors import ConfigError


class Schedule(ABC):
    """A number that depends on the global training step."""

    @abstractmethod
    def value(self, step: int) -> float:
        """Returns the number in force at `step`, counted from 0."""

    @abstractmethod
    def lowest(self) -> float:
        """Returns the smallest value over all steps."""

    def planned(self, total_steps: int) -> Schedule:
        """Returns the schedule with shares of training turned into steps."""
        return self


def _require(condition: bool, where: str, expected: str, found: object) -> None:
    if not condition:
        raise ConfigError("A schedule has an impossible argument.", where=where, expected=expected, found=repr(found))


def _require_number(where: str, found: object) -> None:
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    _require(is_number, where, "a finite number", found)


def _require_count(where: str, found: object, lowest: int) -> None:
    is_count = isinstance(found, int) and not isinstance(found, bool) and found >= lowest
    _require(is_count, where, f"an integer of at least {lowest}", found)


def _require_moment(where: str, found: object, lowest: int) -> None:
    """A number of steps, or a share of training between 0 and 1."""
    if isinstance(found, float) and math.isfinite(found):
        _require(0.0 < found < 1.0, where, "steps (an integer), or a share of training above 0 and below 1", found)
    else:
        _require_count(where, found, lowest)


def _in_steps(moment: float, total_steps: int, lowest: int) -> int:
    return max(lowest, round(moment * total_steps)) if isinstance(moment, float) else moment


def _known(moment: float, where: str) -> int:
    _require(isinstance(moment, int), where, "steps, or a share after the length of training is known", moment)
    return int(moment)


def _progress(step: int, begin: int, steps: int) -> float:
    """Returns the share of `steps` done since `begin`, within [0, 1]."""
    return min(max((step - begin) / steps, 0.0), 1.0)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number at every step.

    Args:
        constant: The number.

    Raises:
        ConfigError: If it is not a finite number.
    """

    constant: float

    def __post_init__(self) -> None:
        _require_number("Constant.constant", self.constant)

    def value(self, step: int) -> float:
        """Returns `constant`."""
        return float(self.constant)

    def lowest(self) -> float:
        """Returns `constant`."""
        return float(self.constant)


@dataclass(frozen=True)
class _Ramp(Schedule):
    """Goes from `start` to `end` within `steps` steps from step `begin` on."""

    start: float
    end: float
    steps: float
    begin: float = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        _require_number(f"{name}.start", self.start)
        _require_number(f"{name}.end", self.end)
        _require_moment(f"{name}.steps", self.steps, lowest=1)
        _require_moment(f"{name}.begin", self.begin, lowest=0)

    def lowest(self) -> float:
        """Returns the smaller of `start` and `end`."""
        return float(min(self.start, self.end))

    def planned(self, total_steps: int) -> Schedule:
        """Returns the ramp in steps."""
        return replace(self, steps=_in_steps(self.steps, total_steps, 1), begin=_in_steps(self.begin, total_steps, 0))

    def progress(self, step: int) -> float:
        """Returns the share of the ramp that is done at `step`."""
        name = type(self).__name__
        return _progress(step, _known(self.begin, f"{name}.begin"), _known(self.steps, f"{name}.steps"))


@dataclass(frozen=True)
class Linear(_Ramp):
    """A straight line from `start` at step `begin` to `end` at step `begin + steps`; constant before and after.

    Args:
        start: Value up to step `begin`.
        end: Value from step `begin + steps` on.
        steps: Length of the line, in steps (an integer) or as a share of training (between 0 and 1).
        begin: First step of the line, likewise.

    Raises:
        ConfigError: If a value is not finite, `steps` is below 1 or `begin` below 0.

    >>> Linear(start=0.0, end=1.0, steps=100).value(25)
    0.25
    """

    def value(self, step: int) -> float:
        """Returns ``start + (end - start) · progress``."""
        progress = self.progress(step)
        return self.start * (1.0 - progress) + self.end * progress


@dataclass(frozen=True)
class Cosine(_Ramp):
    """Half a cosine wave from `start` at step `begin` to `end` at step `begin + steps`; constant before and after.

    Args:
        start: Value up to step `begin`.
        end: Value from step `begin + steps` on.
        steps: Length of the half wave, in steps (an integer) or as a share of training (between 0 and 1).
        begin: First step of the half wave, likewise.

    Raises:
        ConfigError: If a value is not finite, `steps` is below 1 or `begin` below 0.
    """

    def value(self, step: int) -> float:
        """Returns ``end + (start - end) · (1 + cos(π · progress)) / 2``."""
        share = (1.0 + math.cos(math.pi * self.progress(step))) / 2.0
        return self.start * share + self.end * (1.0 - share)


@dataclass(frozen=True)
class Warmup(Schedule):
    """0 during the first `steps` steps, then `target`: a term that joins once the teacher has learnt something.

    For a gradual rise use `Linear(0, target, steps)`.

    Args:
        target: Value from step `steps` on.
        steps: Number of steps at 0, or share of training (between 0 and 1).

    Raises:
        ConfigError: If `target` is not finite or `steps` is below 0.

    Reference:
        Xu et al., "Privileged Features Distillation at Taobao Recommendations", 2020, arXiv 1907.05171
        (λ is 0 at first, then constant).

    >>> Warmup(target=2.0, steps=10).value(9), Warmup(target=2.0, steps=10).value(10)
    (0.0, 2.0)
    """

    target: float
    steps: float

    def __post_init__(self) -> None:
        _require_number("Warmup.target", self.target)
        _require_moment("Warmup.steps", self.steps, lowest=0)

    def planned(self, total_steps: int) -> Schedule:
        """Returns the warm-up in steps."""
        return replace(self, steps=_in_steps(self.steps, total_steps, 0))

    def value(self, step: int) -> float:
        """Returns 0 or `target`."""
        return float(self.target) if step >= _known(self.steps, "Warmup.steps") else 0.0

    def lowest(self) -> float:
        """Returns the smaller of 0 and `target`, or `target` if there is no warm-up."""
        return min(0.0, float(self.target)) if self.steps else float(self.target)


class Planned:
    """A schedule in a training whose length is told before it begins.

    Args:
        schedule: Maybe with shares of training.

    Attributes:
        on_device: Its number as a scalar, while a step is computed that is recorded; whoever replays the step sets it
            before each. None for the number of the host.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.on_device: Tensor | None = None

    def plan(self, total_steps: int) -> None:
        """Turns shares of training into steps."""
        self.schedule = self.schedule.planned(total_steps)

    def value(self, step: int) -> float:
        """Returns the number in force at `step`, counted from 0."""
        if self.on_device is not None:
            return cast(float, self.on_device)  # one computes with a scalar as with a number
        return self.schedule.value(step)

    def is_zero(self, step: int) -> bool:
        """Says whether the number is 0 at `step`, as the host knows it."""
        return self.schedule.value(step) == 0


def as_schedule(value: float | Schedule, where: str) -> Schedule:
    """Takes a number for a constant schedule.

    Args:
        value: A number or a schedule.
        where: Config key, for the error.

    Returns:
        A schedule.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(value, Schedule):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    _require(is_number, where, "a finite number or a schedule of distill.losses.schedule", value)
    return Constant(float(value))


def weight_schedule(value: float | Schedule, where: str) -> Schedule:
    """Takes a number or a schedule for a weight.

    Args:
        value: A number or a schedule.
        where: Config key, for the error.

    Returns:
        A schedule that is never negative.

    Raises:
        ConfigError: If it is neither or becomes negative.
    """
    schedule = as_schedule(value, where)
    _require(schedule.lowest() >= 0.0, where, "a weight of at least 0 at every step", value)
    return schedule


def temperature_schedule(value: float | Schedule, where: str) -> Schedule:
    """Takes a number or a schedule for a temperature.

    Args:
        value: A number or a schedule.
        where: Config key, for the error.

    Returns:
        A schedule that is always positive.

    Raises:
        ConfigError: If it is neither or is not positive at every step.
    """
    schedule = as_schedule(value, where)
    _require(schedule.lowest() > 0.0, where, "a temperature above 0 at every step", value)
    return schedule
