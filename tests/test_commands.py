"""Each command has a config or options, a job, a script, and a line on its page."""

from __future__ import annotations

import importlib

import pytest

from distill.jobs.commands import COMMANDS
from tests.jobs.entry import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_whole(name: str) -> None:
    command = COMMANDS[name]
    assert callable(importlib.import_module(command.job).run)
    assert (command.config is None) != (command.options is None)
    if command.config is not None:
        assert (ROOT / "conf" / f"{command.config}.yaml").is_file()
    if command.options is not None:
        assert callable(importlib.import_module(command.options).arguments)
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `distill {name}`"))
    script = line.split("`python ")[1].partition("`")[0]
    assert command.job in (ROOT / script).read_text(encoding="utf-8")
