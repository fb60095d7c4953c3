"""The terminal: text of a user's (paths, names, values) is shown as it is, never read as markup or emoji codes."""

from __future__ import annotations

from typing import IO

from rich.console import Console

_NARROWEST = 160  # characters, where there is no terminal to ask


def plain_console(
    *, stderr: bool = False, soft_wrap: bool = False, width: int | None = None, file: IO[str] | None = None
) -> Console:
    """Returns a console that shows `[…]` and `:…:` in text, tables and titles as they are, and colours no numbers."""
    return Console(
        file=file, stderr=stderr, soft_wrap=soft_wrap, width=width, markup=False, emoji=False, highlight=False
    )


def report_console() -> Console:
    """A console that does not squeeze tables when the output goes to a file."""
    console = plain_console()
    return console if console.is_terminal else plain_console(width=max(console.width, _NARROWEST))
