"""What every command-line tool shares: resolvers, plain error messages, quiet libraries."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from distill.errors import ConfigError, DistillError

_Result = TypeVar("_Result")


def latest_run(runs: str, name: str) -> Path:
    """Returns the newest run folder of a name.

    Raises:
        ConfigError: There is none.
    """
    folders = sorted(path for path in (Path(runs) / name).glob("*") if (path / ".hydra").is_dir())
    if not folders:
        raise ConfigError("There is no run to resume.", where=f"{runs}/{name}", remedy="Start it without resume=last.")
    return folders[-1]


def _run_dir(runs: str, name: str, resume: str | None) -> str:
    if resume is None:
        return str(Path(runs) / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f"))
    folder = latest_run(runs, name) if resume == "last" else Path(resume)
    if not folder.is_dir():
        raise ConfigError(
            "The run to resume does not exist.", where="resume", found=str(resume), expected="a run folder"
        )
    return str(folder)


def register_resolvers() -> None:
    """Makes `${run_dir:runs,name,resume}` known to configs: a new folder, or that of the run to continue."""
    OmegaConf.register_new_resolver("run_dir", _run_dir, use_cache=True, replace=True)


def execute(job: Callable[[DictConfig], _Result], cfg: DictConfig) -> _Result:
    """Runs a job; an error of the user's making ends the program with its message and status 2."""
    _quiet_libraries()
    if cfg.get("threads") is not None:
        torch.set_num_threads(int(cfg.threads))
    try:
        return job(cfg)
    except DistillError as error:
        message = Text(str(error))
        message.stylize("bold red", 0, len(error.problem))
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(2)


def _quiet_libraries() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*isinstance.*LeafSpec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*treespec.*",
        ".*module.s. in eval mode at the start of training.*",  # the frozen teacher
        ".*sync_dist=True.*",  # metrics are computed on the gathered rows, equal on every rank
    ):
        warnings.filterwarnings("ignore", text)
