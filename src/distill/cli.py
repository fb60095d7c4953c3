"""The console command: `distill COMMAND …`."""

from __future__ import annotations

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import difflib
import importlib
import sys

from distill import __version__
from distill.errors import ConfigError
from distill.jobs import app
from distill.jobs.commands import COMMANDS, Command, job
from distill.jobs.program import typed


def main() -> None:
    """Runs the command that is named first, with the other arguments."""
    name, *others = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())  # noqa: T201
    elif name == "--version":
        print(__version__)  # noqa: T201
    else:
        command = app.guarded(_command, name)
        with typed(command.name, others):
            run(command)


def run(command: Command) -> None:
    """Runs a command with the arguments in `sys.argv`."""
    if command.options is None:
        app.run_command(command)
    else:
        app.guarded(job(command.job), importlib.import_module(command.options).arguments())


def usage() -> str:
    """Returns what `distill --help` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {command.name:<{width}}  {command.says}" for command in COMMANDS.values()]
    start = ("usage: distill COMMAND …", "", "Train a cheap pre-ranker to agree with an expensive ranker.", "")
    return "\n".join([*start, *lines, "", "distill COMMAND --help says more; distill --version, the version."])


def _command(command: str) -> Command:
    if command in COMMANDS:
        return COMMANDS[command]
    close = difflib.get_close_matches(command, COMMANDS, n=1)
    raise ConfigError(
        "There is no such command.",
        where="command",
        expected=", ".join(COMMANDS),
        found=command,
        remedy=f"Did you mean {close[0]}?" if close else "See distill --help.",
    )
