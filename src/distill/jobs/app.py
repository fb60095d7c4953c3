"""What every command-line tool shares: resolvers, plain error messages, quiet libraries."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from distill.errors import DistillError
from distill.in_use import run_named
from distill.jobs.commands import Command
from distill.jobs.conf import conf_folder
from distill.jobs.hydra_help import groups_listed_once
from distill.jobs.override_text import for_hydra
from distill.jobs.python_warnings import log_warnings
from distill.jobs.run_places import fetch_last_run, run_here, run_published, runs_here
from distill.jobs.sweep_job import speaking_as_job
from distill.jobs.trust import trusting
from distill.jobs.uris import on_this_machine
from distill.places.mirror import named_error
from distill.screen.loading import said_if_slow
from distill.training.rendezvous import agreed_name

LAST = "last"  # value of `resume`: the newest run of that name, or in a sweep each job in its folder
FAILED = 2  # the exit status after an error of the user's making
_Options = TypeVar("_Options")
_Result = TypeVar("_Result")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"  # the user's wish; set below for Hydra's sake too
_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
_silent = False  # whether errors are left to who called; see `silent`


def _run_dir(runs: str, name: str, resume: str | None) -> str:
    """Names the folder of a run: a new one, or that of the run to continue (the job checks that it is one).

    Ranks that were started outside agree on the new one.
    """
    new = Path(agreed_name(str(runs_here(runs) / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f"))))
    if resume is None:
        return str(new)
    if resume != LAST:
        return str(run_here(resume))
    from distill.jobs.manifest import MANIFEST_FILE

    fetch_last_run(new.parent)
    return str(max((path.parent for path in new.parent.glob(f"*/{MANIFEST_FILE}")), default=new))


def register_resolvers() -> None:
    """Makes `${run_dir:runs,name,resume}` known to configs: a new folder, or that of the run to continue."""
    OmegaConf.register_new_resolver("run_dir", _run_dir, use_cache=True, replace=True)


register_resolvers()  # also where submitit unpickles a job without running the script


class Task:
    """What Hydra runs of a command: picklable, so that launchers can send it to other processes."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.__module__ = f"distill.{command.name}"  # Hydra names the job, and with it the log file, by its last part

    def __call__(self, cfg: DictConfig) -> object:
        """Runs the job of the command."""
        return execute(self.command.job, cfg)  # a sweeper reads it


def run_command(command: Command) -> None:
    """Runs a command of Hydra's with the arguments in `sys.argv`."""
    start(hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=command.config)(Task(command)))


def start(main: Callable[[], object]) -> None:
    """Runs the main function that Hydra decorated; what a user typed or a disk did wrong is one message and status 2.

    Options of Hydra's own (-m, --cfg job) may stand anywhere among the overrides. With HYDRA_FULL_ERROR=1 the errors of
    Hydra and of the operating system keep their tracebacks.
    """
    _options_first()
    with _hydra_raises(True), groups_listed_once():
        guarded(lambda _: main(), None)


def execute(module: str, cfg: DictConfig) -> object:
    """Checks the values of a config and runs a job; see `guarded`. A job of a sweep that fails leaves the others their
    turn.

    Args:
        module: Of the job: its `run` is. It is imported now, since reading a command line needs none of it.
        cfg: As composed.
    """
    try:
        with speaking_as_job():
            return guarded(lambda checked: _run(module, checked), cfg)
    except SystemExit as stop:
        if stop.code != FAILED or HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        return None


def _run(module: str, cfg: DictConfig) -> object:
    from distill.jobs.values import check_values

    packages = cfg.get("trusted")
    with trusting([str(name) for name in packages] if isinstance(packages, ListConfig) else []):
        with said_if_slow():  # the values too: they are held against parts, which load libraries
            check_values(cfg)
            run: Callable[[DictConfig], object] = importlib.import_module(module).run
        _quiet_libraries()  # once they are there: Lightning sets the levels of its loggers when it is imported
        with _hydra_raises(_TRACEBACKS), _threads(cfg.get("threads")):  # processes that the job starts are told that
            hydra = HydraConfig.get()
            folder = Path(hydra.runtime.output_dir)
            with run_named(folder), run_published(folder, hydra.mode == RunMode.MULTIRUN):
                return run(on_this_machine(cfg))


def guarded(job: Callable[[_Options], _Result], options: _Options) -> _Result:
    """Runs a job; an error of the user's making, or of a disk's, ends the program with its message and status 2.

    Raises:
        SystemExit: From the error, for who runs jobs within another program (see `silent`).
    """
    for stream in (sys.stdout, sys.stderr):  # names of files may be in no encoding
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return job(options)
    except KeyboardInterrupt as interrupt:
        raise SystemExit(_INTERRUPTED) from interrupt
    except SystemExit as stop:  # Lightning's way to end after a KeyboardInterrupt
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise SystemExit(_INTERRUPTED) from stop.__context__
        raise
    except BrokenPipeError:  # of what the output is piped into: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        from distill.jobs.foreign import explain

        explained = explain(error)
        if explained is None or (_TRACEBACKS and explained is not error):
            raise
        explained = named_error(explained)
        if explained is not error:
            explained.__cause__ = error
        if not _silent:
            _print_error(explained)
        raise SystemExit(FAILED) from explained


@contextmanager
def silent() -> Iterator[None]:
    """Within the block errors are not printed: they are the causes of the SystemExit that `guarded` raises."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Runs the body with so many CPU threads; None leaves them, and torch alone."""
    if wanted is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(wanted))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _print_error(error: DistillError) -> None:
    from rich.text import Text

    from distill.console import plain_console

    message = Text(str(error))
    message.stylize("bold red", 0, len(error.problem))
    plain_console(stderr=True, soft_wrap=True).print(message)


@contextmanager
def _hydra_raises(wanted: bool) -> Iterator[None]:
    """Within the block Hydra passes errors on, in place of printing them in its own way and exiting; or not."""
    before = os.environ.pop(_FULL_ERROR, None)
    if wanted:
        os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FULL_ERROR, None)
        if before is not None:
            os.environ[_FULL_ERROR] = before


def _options_first() -> None:
    """Brings the options of Hydra before the overrides: its parser takes none behind them. Quotes paths for it."""
    overrides = get_args_parser().parse_intermixed_args().overrides
    rest = sys.argv[1:]
    for override in reversed(overrides):
        del rest[len(rest) - 1 - rest[::-1].index(override)]
    sys.argv[1:] = [*rest, *map(for_hydra, overrides)]


def _quiet_libraries() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    log_warnings()
    for text in (
        ".*does not have many workers.*",
        ".*isinstance.*LeafSpec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*treespec.*",
        ".*module.s. in eval mode at the start of training.*",  # the frozen teacher
        ".*overridden `on_before_batch_transfer`.*",  # the module makes a batch ready, the data copies it
        ".*could not find the monitored key.*",  # of a fit without a validation, whose end says so
        ".*Initializing zero-element tensors.*",  # of a side without fields, which is said
        ".*sync_dist=True.*",  # metrics are computed on the gathered rows, equal on every rank
    ):
        warnings.filterwarnings("ignore", text)
