"""How long a test waits for other processes: nearly as long as the guard against hanging leaves it."""

from __future__ import annotations

import os

import pytest

_NAME = "DISTILL_TEST_SECONDS"
_SHARE = 0.8  # what is left is for the test itself, which then fails instead of being ended with its whole process


def patience() -> float:
    """Seconds that the running test may wait; a machine that is shared may take many times what a quiet one does."""
    return float(os.environ[_NAME])


def allow(item: pytest.Item) -> None:
    """Says how long the test that begins may wait: a share of its time limit, by its mark or for all tests."""
    mark = item.get_closest_marker("timeout")
    seconds = mark.args[0] if mark and mark.args else item.config.getini("timeout")
    os.environ[_NAME] = str(_SHARE * float(seconds))
