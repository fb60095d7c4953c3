"""Meters without a terminal: a line now and then, and one at the end."""

from __future__ import annotations

import math

import pytest

from distill.screen import meters
from distill.screen.meters import LINE_SECONDS, Meters


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(meters, "time", found)
    return found


def test_a_line_each_so_many_seconds_and_one_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Meters(True, "rows") as shown:
        meter = shown.begin("write splits", 3000)
        for second in range(100):
            clock.now = float(second)
            meter.advance(30)
        meter.advance(0)  # once is enough
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "write splits: 930/3,000 rows, 31.0 rows/s",
        "write splits: 1,830/3,000 rows, 30.5 rows/s",
        "write splits: 2,730/3,000 rows, 30.3 rows/s",
        "write splits: 3,000/3,000 rows after 99.0 s, 30.3 rows/s",
    ]


def test_what_went_on_from_a_checkpoint_is_no_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Meters(True, "steps", keep=False) as shown:
        meter = shown.begin("student epoch 2/3", math.inf)
        meter.reach(500)
        clock.now = LINE_SECONDS
        meter.reach(530, "loss 0.5")
    assert capsys.readouterr().err == "student epoch 2/3: 530 steps, 1.0 steps/s, loss 0.5\n"


def test_what_is_not_enabled_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Meters(False, "rows") as shown:
        shown.begin("write splits", 1).advance(1)
    assert capsys.readouterr().err == ""
