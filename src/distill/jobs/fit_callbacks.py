"""The callbacks of a fit, from config."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from distill.errors import ConfigError
from distill.jobs.parts import build
from distill.schema import Schema
from distill.training.callbacks import (
    CheckMonitor,
    CheckpointOnInterrupt,
    DataWait,
    LossLog,
    MetricHistory,
    NamedProgressBar,
    PruneTrial,
    RandomState,
    ScalarLayout,
    StopOnNonFinite,
    Validated,
)
from distill.training.launch import rank

_MAIN = ("student", "model")  # not teacher and control, which trials share


def fit_callbacks(cfg: DictConfig, role: str, schema: Schema, folder: Path, log_dir: Path) -> list[pl.Callback]:
    """Builds the callbacks of a fit: those that every fit has, then those of `callbacks` and `callbacks.extra`.

    Args:
        cfg: Of the run.
        role: teacher | control | student.
        schema: Of the dataset.
        folder: For checkpoints.
        log_dir: For logs.

    Raises:
        ConfigError: The monitored metric is of an unknown task, or an extra callback cannot be built.
    """
    monitor = str(cfg.callbacks.monitor)
    _check_monitor(monitor, schema)
    always = [
        CheckMonitor(monitor),
        _best(cfg, folder),
        _last(folder),
        StopOnNonFinite(str(folder), role),
        ScalarLayout(),
        LossLog(int(cfg.trainer.log_every_n_steps)),
        MetricHistory(str(log_dir / role)),
        RandomState(),
        CheckpointOnInterrupt(str(folder), "the same command with resume=last"),
        DataWait(),
        Validated(),
    ]
    extra = (build(node, f"callbacks.extra.{name}", pl.Callback) for name, node in cfg.callbacks.extra.items())
    return [*always, *_chosen(cfg, role, folder), *extra]


def _best(cfg: DictConfig, folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor=cfg.callbacks.monitor,
        mode=cfg.callbacks.mode,
        enable_version_counter=False,
    )


def _last(folder: Path, every_n_steps: int | None = None) -> ModelCheckpoint:
    """What resuming starts from: every epoch, whether it was better or not, or every n steps."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="last",
        every_n_train_steps=every_n_steps,
        every_n_epochs=1 if every_n_steps is None else None,
        enable_version_counter=False,
    )


def _chosen(cfg: DictConfig, role: str, folder: Path) -> list[pl.Callback]:
    options, found = cfg.callbacks, list[pl.Callback]()
    if options.checkpoint_every_n_steps is not None:
        found.append(_last(folder, int(options.checkpoint_every_n_steps)))
    if options.patience is not None:
        found.append(
            EarlyStopping(
                monitor=options.monitor,
                mode=options.mode,
                patience=options.patience,
                min_delta=options.min_delta,
                strict=False,  # with max_steps the last epoch may end without a validation
            )
        )
    if options.progress_bar:
        found.append(NamedProgressBar(role))
    if cfg.logger.tensorboard:
        found.append(LearningRateMonitor("step"))
    if cfg.study is not None and cfg.study.trial is not None and role in _MAIN:
        found.append(_prune(cfg.study))
    return found


def _prune(study: DictConfig) -> PruneTrial:
    if rank() != 0:
        return PruneTrial(str(study.objective), None)
    from distill.jobs.study.storage import Reporter  # optuna is an extra

    return PruneTrial(str(study.objective), Reporter(study))


def _check_monitor(monitor: str, schema: Schema) -> None:
    """Finds a mistyped task before an epoch has been trained."""
    parts, tasks = monitor.split("/"), schema.task_names
    if len(parts) == 3 and parts[1] not in tasks:
        raise ConfigError(
            "The monitored metric is of an unknown task.",
            where="callbacks.monitor",
            expected=f"a task of the dataset: {', '.join(tasks)}",
            found=monitor,
            remedy="Set data.main_task.",
        )
