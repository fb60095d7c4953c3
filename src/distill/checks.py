"""Checks of values that come from a config, where anything may stand."""

from __future__ import annotations

import math

from distill.errors import ConfigError


def require_integer(where: str, found: object, least: int, most: int = 2**63 - 1) -> None:
    """Raises ConfigError unless a value is an integer from `least` to `most`; a boolean is none."""
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        limits = f"{least} or more" if most == 2**63 - 1 else f"{least} to {most}"
        raise ConfigError(
            "The value must be an integer in the allowed range.", where=where, expected=limits, found=repr(found)
        )


def require_number(where: str, found: object, least: float, most: float) -> None:
    """Raises ConfigError unless a value is a finite number from `least` to `most`; a boolean is none."""
    number = float(found) if isinstance(found, float) or (type(found) is int and abs(found) < 2**63) else math.nan
    if not least <= number <= most:
        raise ConfigError(
            "The value must be a number in the allowed range.",
            where=where,
            expected=f"{least:g} to {most:g}",
            found=repr(found),
        )


def require_text(where: str, found: object) -> None:
    """Raises ConfigError unless a value is text that is not empty."""
    if not isinstance(found, str) or not found:
        raise ConfigError("The value must be text.", where=where, expected="a name", found=repr(found))
