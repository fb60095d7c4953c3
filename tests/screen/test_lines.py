"""Lines on the screen: above bars and never glued to them, whole, and with the job that says them."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.color import ColorSystem
from rich.console import Console

from distill.console import plain_console
from distill.screen import lines, meters
from distill.screen.lines import FILE_ONLY, FileFormatter, ScreenHandler, has_bars, job_name, show, speaking_as
from distill.screen.meters import Meters

ERASE = "\x1b[2K"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a terminal of 60 columns."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=60, color_system=None, markup=False, emoji=False)
    for module in (lines, meters):
        monkeypatch.setattr(module, "terminal", lambda: console)
    return written


def logger() -> logging.Logger:
    found = logging.Logger("screen")
    found.addHandler(ScreenHandler())
    return found


def test_a_line_takes_the_place_of_the_bar_which_goes_below(screen: io.StringIO) -> None:
    with Meters(True, "rows") as shown:
        meter = shown.begin("fit encodings", 10)
        meter.advance(5)
        before = len(screen.getvalue())
        logger().warning("WARNING: [too] :few: rows of %s", "x" * 70)
        said = screen.getvalue()[before:]
    bar_gone, text = said.split("WARNING", 1)
    assert bar_gone.endswith(ERASE)
    assert text.startswith(": [too] :few: rows of " + "x" * 70 + "\n")  # whole, as it may be a path to copy
    assert "fit encodings" in text
    assert "5/10 rows" in text


def test_a_bar_leaves_room_for_the_sign_of_an_interrupt(screen: io.StringIO) -> None:
    with Meters(True, "steps", keep=False) as shown:
        shown.begin("fit", 20).reach(5, "loss 0.5")
    drawn = [line for line in re.split(r"[\r\n]|\x1b\[[0-9?]*[A-Za-z]", screen.getvalue()) if "5/20" in line]
    assert drawn
    assert all(len(line + "^C") < 60 for line in drawn)


def test_without_a_terminal_lines_are_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    logger().info("one\ntwo")
    logger().info("not this", extra=FILE_ONLY)
    assert capsys.readouterr().err == "one\ntwo\n"


def test_a_log_file_names_the_level_once() -> None:
    record = logging.LogRecord("distill", logging.WARNING, "", 0, "WARNING: %s", ("few",), None)
    assert FileFormatter("%(levelname)s %(name)s: %(message)s").format(record) == "WARNING distill: few"
    assert logging.Formatter("%(message)s").format(record) == "WARNING: few"


def test_each_line_of_a_sweep_carries_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking_as("3 seed=1", alone=True):
        show("one\ntwo")
        assert job_name() == "3 seed=1"
    show("three")
    assert capsys.readouterr().err == "[3 seed=1] one\n[3 seed=1] two\nthree\n"


def test_jobs_side_by_side_draw_no_bars(screen: io.StringIO) -> None:
    assert has_bars()
    with speaking_as("0", alone=False):
        assert not has_bars()
        with Meters(True, "rows") as shown:
            shown.begin("write splits", 10).advance(10)
    assert ERASE not in screen.getvalue()
    assert screen.getvalue().startswith("[0] write splits: 10/10 rows")


def test_numbers_within_a_text_have_its_colour_alone() -> None:
    written = io.StringIO()
    console = plain_console(file=written, width=60)
    console._force_terminal, console._color_system = True, ColorSystem.STANDARD
    console.print("of 30 requests", style="dim")
    assert written.getvalue() == "\x1b[2mof 30 requests\x1b[0m\n"
