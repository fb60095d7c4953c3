"""Which program runs here: a script of the repository, or a command of the installed `distill`.

`sys.argv` says it, also in the processes that a launcher of Hydra's starts: `distill NAME` stands first in it for the
command, and no file does.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DISTILL = "distill"


@contextmanager
def typed(command: str, arguments: Sequence[str]) -> Iterator[None]:
    """Runs the body as if `distill COMMAND ARGUMENTS…` had been typed."""
    before, sys.argv = sys.argv, [f"{_DISTILL} {command}", *arguments]
    try:
        yield
    finally:
        sys.argv = before


def command_line() -> list[str]:
    """Returns what was typed, by word."""
    command = _command()
    return list(sys.argv) if command is None else [_DISTILL, command, *sys.argv[1:]]


def as_typed(command: Sequence[object]) -> str:
    """Returns a kept `command_line` as a shell takes it."""
    words = [str(word) for word in command]
    return shlex.join(["python", *words] if words and words[0].endswith(".py") else words)


def another_process() -> list[str]:
    """Returns the arguments of Python with which another process runs the same program."""
    command = _command()
    return [str(Path(sys.argv[0]).resolve())] if command is None else ["-m", _DISTILL, command]


def train_command(*, config_dir: Path | None = None) -> list[str]:
    """Returns how training is started by who runs this program, by word.

    Args:
        config_dir: Where configs of the user's are; the repository's own are found without.
    """
    if _command() is None:
        return ["python", "train.py"]
    return [_DISTILL, "train", *(() if config_dir is None else ("--config-dir", str(config_dir)))]


def program_command(command: str) -> list[str]:
    """Returns how another command of Hydra's is started by who runs this program, by word."""
    return ["python", f"scripts/{command}.py"] if _command() is None else [_DISTILL, command]


def quoted(value: str | Path) -> str:
    """Returns text as the value of an override: Hydra takes it for text, whatever it holds."""
    return "'" + str(value).replace("'", "\\'") + "'"


def _command() -> str | None:
    name, _, command = sys.argv[0].partition(" ")
    return command if name == _DISTILL and command else None
