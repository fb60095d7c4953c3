"""The search space of a study, written as sweeps of Hydra's override grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from distill.errors import ConfigError


@dataclass(frozen=True)
class Space:
    """What a study tries.

    Attributes:
        distributions: Key of an override to what its values are drawn from.
        fixed: Overrides that all trials share.
    """

    distributions: dict[str, BaseDistribution]
    fixed: list[str]

    def overrides(self, drawn: Mapping[str, Any], where: str) -> list[str]:
        """Writes the parameters of a trial as overrides. They come from the study's file: text must be a choice.

        Args:
            drawn: Key to value.
            where: The trial, for errors.

        Raises:
            ConfigError: The space has no such key or choice.
        """
        for key, value in drawn.items():
            space = self.distributions.get(key)
            choices = space.choices if isinstance(space, CategoricalDistribution) else ()
            if space is None or not (type(value) in (int, float) or value in choices):
                raise ConfigError(
                    "A trial of the study was not drawn from its space.",
                    where=f"{where}, {key}",
                    expected=", ".join(map(str, choices)) if choices else ", ".join(self.distributions),
                    found=str(value)[:200],
                    remedy="Go on with the space that the study was begun with, or begin another one.",
                )
        return [f"{key}={value}" for key, value in drawn.items()]

    def given(self, value_of: Callable[[str], Any]) -> dict[str, Any]:
        """Finds the settings that a run has without a sweep; those that lie outside of the space are left out.

        Args:
            value_of: Returns the value of a key, or the option of a config group; None of one that is not there.
        """
        found = {key: _inside(space, value_of(key.lstrip("+"))) for key, space in self.distributions.items()}
        return {key: value for key, value in found.items() if value is not None}


def _inside(space: BaseDistribution, value: Any) -> Any:
    """The value as the space has it; None if it does not."""
    if isinstance(space, CategoricalDistribution):
        return next((choice for choice in space.choices if _same(str(choice), value)), None)
    assert isinstance(space, (IntDistribution, FloatDistribution))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not space.low <= value <= space.high:
        return None
    if isinstance(space, IntDistribution) and value != int(value):
        return None
    steps = 0.0 if space.step is None else (value - space.low) / space.step
    whole = abs(steps - round(steps)) < 1e-8
    return (int(value) if isinstance(space, IntDistribution) else float(value)) if whole else None


def _same(choice: str, value: Any) -> bool:
    """Whether an override with this choice would set the value."""
    return value is not None and (choice == str(value) or _parse(f"x={choice}").value() == value)


def read_space(params: Mapping[str, Any], arguments: Sequence[str], config: Mapping[str, Any]) -> Space:
    """Reads the search space from `study.params` and from the command line, which goes before it.

    `interval(a, b)` is a real number, `int(interval(a, b))` an integer, with `tag(log, …)` on a logarithmic scale;
    `range(a, b, step)` leaves out b, as Hydra's own does; `choice(x, y)` and `x,y` have no order; anything else is
    fixed. In a key of `params`, `*` stands for any name: it finds the numbers that there are in the config. A key
    whose value is null is left as it is.

    Raises:
        ConfigError: There is nothing to tune, or the seed would be.
    """
    wanted = dict(_expand(params, config))
    given = [_parse(argument) for argument in arguments]
    own = [_parse(f"{key}={value}") for key, value in wanted.items() if value is not None]
    keys = {override.get_key_element().lstrip("+") for override in given}
    overrides = [override for override in own if override.get_key_element() not in keys] + given
    swept = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
    if "seed" in swept:
        raise ConfigError(
            "A seed cannot be tuned.",
            where="seed",
            remedy="study.seeds=[0,1] takes the mean of the objective over seeds in each trial.",
        )
    if not swept:
        raise ConfigError(
            "There is nothing to tune.",
            where="study.params",
            expected="a key of the config with interval(…), range(…) or choice(…)",
            remedy="Add it there, or on the command line: 'optimizer.lr=tag(log,interval(0.001,0.1))'",
        )
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    return Space({key: _distribution(override) for key, override in swept.items()}, fixed)


def _parse(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _expand(params: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Replaces keys with `*` by those that they match, which a key without goes before."""
    exact = {key: value for key, value in params.items() if "*" not in key}
    numbers = list(_numbers(config, ""))
    for pattern, value in params.items():
        if pattern in exact:
            continue
        expression = re.compile(re.escape(pattern).replace(r"\*", "[^.]*"))
        yield from ((key, value) for key in numbers if expression.fullmatch(key) and key not in exact)
    yield from exact.items()


def _numbers(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}"


def _distribution(override: Override) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(override.get_key_element(), value)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(override.get_key_element(), value)
    return CategoricalDistribution(list(override.sweep_string_iterator()))  # as the job's override will write them


def _interval(key: str, sweep: IntervalSweep) -> BaseDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or low > high or (log and low <= 0):
        expected = "interval(low, high) with low ≤ high" + (", both positive" if log else "")
        raise ConfigError("The interval is empty.", where=key, expected=expected, found=f"interval({low}, {high})")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(key: str, sweep: RangeSweep) -> BaseDistribution:
    values = list(sweep.range())
    if not values:
        raise ConfigError("The range is empty.", where=key, expected="range(start, stop, step)")
    low, high = min(values), max(values)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), step=abs(int(sweep.step)))
    return FloatDistribution(low, high, step=abs(float(Decimal(str(sweep.step)))))
