"""Lines on stderr: above a bar, if there is one, and in a sweep with the job that says them.

Nothing here imports Rich before there is something to say: logging needs this at every start of a command.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_ONLY = {"file_only": True}  # `extra=` of a record that the screen has shown in another way
_WARNING = "yellow"

_job = ""
_alone = True


class ScreenHandler(logging.Handler):
    """Shows records on the screen, warnings in yellow, but for those that are for the log file only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one."""
        if getattr(record, "file_only", False):
            return
        try:
            show(self.format(record), style=_WARNING if record.levelno >= logging.WARNING else "")
        except Exception:
            self.handleError(record)


class FileFormatter(logging.Formatter):
    """Formats records for a log file: their level stands once, where the message says it too."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Formats one whose message is ready."""
        record.message = record.message.removeprefix(f"{record.levelname}: ")
        return super().formatMessage(record)


@contextmanager
def speaking_as(job: str, alone: bool) -> Iterator[None]:
    """Within the block lines begin with the name of a job.

    Args:
        job: Its name; empty outside of sweeps.
        alone: Whether no other job writes to the screen meanwhile; if one does, there are no bars.
    """
    global _job, _alone
    before = _job, _alone
    _job, _alone = job, alone
    try:
        yield
    finally:
        _job, _alone = before


def job_name() -> str:
    """Returns the name of the job of a sweep that runs here; empty outside of sweeps."""
    return _job


def has_bars() -> bool:
    """Whether bars can be drawn: on a terminal that no other job writes to."""
    return _alone and terminal().is_interactive


def show(text: str, style: str = "") -> None:
    """Shows text; lines longer than the terminal is wide stay whole for who copies them."""
    said = "\n".join(f"[{_job}] {line}" if _job else line for line in text.splitlines())
    if not terminal().is_terminal:
        sys.stderr.write(said + "\n")
        sys.stderr.flush()
        return
    from rich.text import Text

    terminal().print(Text(said, style), soft_wrap=True)


@cache
def terminal() -> Console:
    """Returns the one console of bars and lines; it is where `sys.stderr` is."""
    from distill.console import plain_console

    return plain_console(stderr=True)
