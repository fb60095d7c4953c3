"""Ctrl-C ends a command without a traceback, at whatever moment and however often it comes."""

from __future__ import annotations

import sys
from types import TracebackType


def quiet_interrupts() -> None:
    """Says nothing of a KeyboardInterrupt that nobody caught: during imports, or at the end of a command."""
    report, unraisable = sys.excepthook, sys.unraisablehook

    def report_others(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            report(kind, error, trace)

    def report_unraisable(found: sys.UnraisableHookArgs) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            unraisable(found)

    sys.excepthook, sys.unraisablehook = report_others, report_unraisable


quiet_interrupts()  # a command imports this before anything that takes time
