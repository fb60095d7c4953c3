"""Warnings of Python's go where all lines go: above the bar, and into the log file, each once a run."""

from __future__ import annotations

import logging
import warnings
from typing import TextIO

_log = logging.getLogger("warnings")


def log_warnings() -> None:
    """Logs warnings from now on; whoever called it within `warnings.catch_warnings` gets back what was there."""
    told: set[str] = set()

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"WARNING: {category.__name__}: {message} ({filename}:{lineno})"
        if text not in told:
            told.add(text)
            _log.warning("%s", text)

    warnings.showwarning = tell
