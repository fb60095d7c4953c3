"""Runs a command within another program, such as a notebook: same folder, same records, errors raised."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.types import RunMode

from distill.errors import ConfigError
from distill.jobs import app
from distill.jobs.commands import Command
from distill.jobs.conf import conf_folder
from distill.jobs.override_text import for_hydra
from distill.jobs.program import typed

_OF_HYDRA: tuple[type, ...] = (GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)


def run_in_process(command: Command, overrides: Sequence[str], config_dir: Path | None = None) -> Any:
    """Runs what `distill COMMAND OVERRIDES…` runs, and returns its result.

    Args:
        command: One of Hydra's.
        overrides: As typed, without quotes for the shell.
        config_dir: Folder with more configs, as of `--config-dir`.

    Raises:
        DistillError: The command would have printed it and exited.
        KeyboardInterrupt: The run was interrupted.
    """
    with typed(command.name, overrides), _own_hydra(), _own_logging(), warnings.catch_warnings():
        return raising(lambda: _run(command, [*map(for_hydra, overrides)], config_dir))


def raising(job: Callable[[], Any]) -> Any:
    """Runs what would print an error and exit; raises the error instead."""
    try:
        with app.silent():
            return app.guarded(lambda _: job(), None)
    except SystemExit as stop:
        interrupt = (
            stop.__context__ if isinstance(stop.__context__, KeyboardInterrupt) else None
        )  # Lightning exits then
        error = stop.__cause__ or interrupt
        if error is None:
            raise
    raise error


def _run(command: Command, overrides: list[str], config_dir: Path | None) -> Any:
    version.setbase("1.3")
    search = create_config_search_path(str(conf_folder()))
    if config_dir is not None:
        folder = config_dir.absolute()
        if not folder.is_dir():
            raise ConfigError("There is no such folder.", where="config_dir", found=str(folder))
        search.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    hydra = Hydra.create_main_hydra2(command.name, search)
    try:
        return hydra.run(command.config, app.Task(command), overrides).return_value
    except AssertionError:  # Hydra's own; to ask for the mode first would be to compose the config twice
        if hydra.get_mode(command.config, overrides) != RunMode.MULTIRUN:
            raise
    raise ConfigError(
        "A sweep must be started from the command line.",
        where="overrides",
        found="hydra.mode=MULTIRUN",
        remedy=f"Type distill {command.name} -m and the overrides.",
    )


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Gives the body a Hydra that nobody has used; what the program itself has composed stays as it was."""
    before = {kind: Singleton._instances.pop(kind) for kind in _OF_HYDRA if kind in Singleton._instances}
    try:
        yield
    finally:
        for kind in _OF_HYDRA:
            Singleton._instances.pop(kind, None)
        Singleton._instances.update(before)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Takes back what a job does to the root logger: its handlers, its level, its filters."""
    root = logging.getLogger()
    handlers, filters, level = list(root.handlers), list(root.filters), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], root.filters[:] = handlers, filters
        root.setLevel(level)
