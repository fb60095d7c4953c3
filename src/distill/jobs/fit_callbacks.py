"""The callbacks of a fit, from config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import LearningRateMonitor

from distill.jobs.continued import continuation
from distill.jobs.node import build
from distill.ops.ranks import rank
from distill.training.callbacks import (
    BestCheckpoint,
    CheckMonitor,
    CheckpointOnInterrupt,
    DataWait,
    FitProgress,
    KeptGradients,
    LastCheckpoint,
    Learning,
    LossLog,
    MetricHistory,
    Patience,
    PruneTrial,
    RandomState,
    ScalarLayout,
    StopOnNonFinite,
    Validated,
    ValidationLine,
    WeightAverage,
)

_MAIN = ("student", "model")  # not teacher and control, which trials share


def fit_callbacks(
    cfg: DictConfig, role: str, folder: Path, log_dir: Path, cycles: Sequence[int] | None = None
) -> list[pl.Callback]:
    """Builds the callbacks of a fit: those that every fit has, then those of `callbacks` and `callbacks.extra`.

    Args:
        cfg: Of the run.
        role: teacher | control | student | model.
        folder: For checkpoints.
        log_dir: For logs.
        cycles: After how many epochs the cycles of the learning rate end; None without any.

    Raises:
        ConfigError: An extra callback cannot be built.
    """
    monitor = str(cfg.callbacks.monitor)
    always = [
        *_average(cfg),  # before what saves at the end of a step
        CheckMonitor(monitor, role),
        ValidationLine(monitor, str(cfg.callbacks.mode), role),
        BestCheckpoint(folder, monitor, str(cfg.callbacks.mode)),
        LastCheckpoint(folder),
        StopOnNonFinite(str(folder), role, int(cfg.trainer.log_every_n_steps)),
        ScalarLayout(),
        LossLog(int(cfg.trainer.log_every_n_steps)),
        MetricHistory(str(log_dir / role)),
        RandomState(),
        *([KeptGradients()] if int(cfg.trainer.accumulate_grad_batches) > 1 else []),
        CheckpointOnInterrupt(str(folder), continuation(), int(cfg.trainer.log_every_n_steps)),
        DataWait(),
        Validated(),
        Learning(monitor),
    ]
    extra = (build(node, f"callbacks.extra.{name}", pl.Callback) for name, node in cfg.callbacks.extra.items())
    return [*always, *_chosen(cfg, role, folder, cycles), *extra]


def _average(cfg: DictConfig) -> list[pl.Callback]:
    decay = cfg.callbacks.weight_average
    return [] if decay is None else [WeightAverage(float(decay))]


def _chosen(cfg: DictConfig, role: str, folder: Path, cycles: Sequence[int] | None) -> list[pl.Callback]:
    options, found = cfg.callbacks, list[pl.Callback]()
    if options.checkpoint_every_n_steps is not None:
        found.append(LastCheckpoint(folder, int(options.checkpoint_every_n_steps)))
    if options.patience is not None:
        patience, least = int(options.patience), float(options.min_delta)
        found.append(Patience(options.monitor, options.mode, patience, least, cycles))
    if options.progress_bar:
        found.append(FitProgress(role))
    if cfg.logger.tensorboard or cfg.logger.extra:
        found.append(LearningRateMonitor("step"))
    if cfg.study is not None and cfg.study.trial is not None and role in _MAIN:
        found.append(_prune(cfg.study))
    return found


def _prune(study: DictConfig) -> PruneTrial:
    if rank() != 0:
        return PruneTrial(str(study.objective), None)
    from distill.jobs.study.storage import Reporter  # optuna is an extra

    return PruneTrial(str(study.objective), Reporter(study))
