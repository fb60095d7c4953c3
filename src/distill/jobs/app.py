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
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from distill.errors import DistillError
from distill.jobs.manifest import MANIFEST_FILE
from distill.training.rendezvous import agreed_name

FAILED = 2  # the exit status after an error of the user's making
_Options = TypeVar("_Options")
_Result = TypeVar("_Result")
_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
_SHARDING_LIBRARIES = {"fbgemm_gpu", "torchrec"}


def _run_dir(runs: str, name: str, resume: str | None) -> str:
    """Names the folder of a run: a new one, or that of the run to continue (the job checks that it is one).

    Ranks that were started outside agree on the new one.
    """
    new = Path(agreed_name(str(Path(runs) / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f"))))
    if resume is None:
        return str(new)
    if resume != "last":
        return str(Path(resume))
    return str(max((path.parent for path in new.parent.glob(f"*/{MANIFEST_FILE}")), default=new))


def register_resolvers() -> None:
    """Makes `${run_dir:runs,name,resume}` known to configs: a new folder, or that of the run to continue."""
    OmegaConf.register_new_resolver("run_dir", _run_dir, use_cache=True, replace=True)


register_resolvers()  # also where submitit unpickles a job without running the script


def execute(job: Callable[[DictConfig], _Result], cfg: DictConfig) -> _Result | None:
    """Runs a job of a config; see `guarded`. A job of a sweep that fails leaves the others their turn."""
    _quiet_libraries()
    if cfg.get("threads") is not None:
        torch.set_num_threads(int(cfg.threads))
    try:
        return guarded(job, cfg)
    except SystemExit as stop:
        if stop.code != FAILED or HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        return None


def guarded(job: Callable[[_Options], _Result], options: _Options) -> _Result:
    """Runs a job; an error of the user's making ends the program with its message and status 2."""
    try:
        return job(options)
    except DistillError as error:
        message = Text(str(error))
        message.stylize("bold red", 0, len(error.problem))
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _quiet_libraries() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in (*_SHARDING_LIBRARIES, "torch.fx._symbolic_trace"):  # the last warns of what TorchRec calls
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().addFilter(_is_worth_reading)
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


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """Leaves out what FBGEMM and TorchRec tell the root logger about themselves; their errors stay."""
    return record.levelno >= logging.ERROR or _SHARDING_LIBRARIES.isdisjoint(Path(record.pathname).parts)
