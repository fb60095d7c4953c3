"""Which of many alike checks `make test` makes; `make test-all` makes them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], *fast: Any) -> list[Any]:
    """Returns parameters (tuples, of several arguments) of which all but some are marked slow.

    Raises:
        ValueError: One of `fast` is not among them.
    """
    known = list(values)
    if unknown := [value for value in fast if value not in known]:
        raise ValueError(f"no such parameters: {unknown}")
    return [value if value in fast else _slow(value) for value in known]


def some_fast(values: Iterable[Any], every: int) -> list[Any]:
    """Returns parameters of which all but each n-th, from the first on, are marked slow."""
    known = list(values)
    return slow_except(known, *known[::every])


def _slow(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
