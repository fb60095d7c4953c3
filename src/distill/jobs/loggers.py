"""The loggers of a fit, from config."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from distill.jobs.node import build
from distill.jobs.overridden import overridden
from distill.jobs.sweep_job import job_folder_name
from distill.jobs.targets import run_part
from distill.ops.ranks import rank
from distill.reports.summary import Summary
from distill.training.loggers import FitMLflow, FitWandb

TENSORBOARD = "tensorboard"


def log_folder(job_dir: Path) -> Path:
    """Returns where event files of a run go; in a sweep below a folder that says what differs, as TensorBoard names
    runs by their folders."""
    name = job_folder_name()
    return job_dir / TENSORBOARD / name if name else job_dir / TENSORBOARD


def fit_loggers(cfg: DictConfig, role: str, job_dir: Path) -> list[Logger]:
    """Builds the loggers of a fit: TensorBoard's, and those of `logger.extra`.

    Args:
        cfg: Of the run.
        role: teacher | control | student | model.
        job_dir: Folder of the run.

    Raises:
        ConfigError: One cannot be built, or its package is not installed.
    """
    loggers: list[Logger] = []
    if cfg.logger.tensorboard:
        loggers.append(TensorBoardLogger(log_folder(job_dir), name=role, version="", default_hp_metric=False))
    extra = _extra(cfg, role, job_dir)
    if rank() == 0:
        for logger in extra:
            logger.log_hyperparams({**overridden(cfg), "role": role})
    return [*loggers, *extra]


def log_test(cfg: DictConfig, job_dir: Path, summary: Summary, trained: Iterable[str], main: str) -> None:
    """Adds the test metrics to the runs of trackers that were trained here; other loggers have `summary.json` beside.

    Args:
        cfg: Of the run.
        job_dir: Folder of the run.
        summary: What was measured.
        trained: Roles of the summary that have a fit.
        main: What the fit of `summary.main_role` is called: student | model.
    """
    roles = {role: role for role in trained} | {summary.main_role: main}
    for shown, values in summary.metrics.items():
        if shown in summary.cached or shown not in roles:  # a teacher may have been scored, and not trained here
            continue
        for logger in _extra(cfg, roles[shown], job_dir, (FitWandb, FitMLflow)):
            logger.log_metrics({f"test/{name}": value for name, value in values.items()})
            logger.finalize("success")


def _extra(cfg: DictConfig, role: str, job_dir: Path, kinds: tuple[type[Logger], ...] = (Logger,)) -> list[Logger]:
    found = []
    for name, node in cfg.logger.extra.items():
        where = f"logger.extra.{name}"
        kind = run_part(node["_target_"], f"{where}._target_", Logger)
        if not issubclass(kind, kinds):
            continue
        known = {
            "folder": job_dir,
            "role": role,
            "run": "/".join(filter(None, (cfg.name, job_dir.name, job_folder_name()))),
        }
        taken = inspect.signature(kind).parameters.keys()
        found.append(build(node, where, Logger, **{key: value for key, value in known.items() if key in taken}))
    return found
