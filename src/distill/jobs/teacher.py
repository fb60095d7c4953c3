"""Where the teacher signals of a run come from: its `teacher` config, turned into files beside the data or a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from distill.data.format import Dataset, teacher_column
from distill.errors import ConfigError, SignalError
from distill.jobs.calibrate import calibrated
from distill.jobs.ensemble import ensemble_signals
from distill.jobs.fit import Signals
from distill.jobs.machine import device
from distill.jobs.parts import build, load_model, plain
from distill.jobs.score import check_teacher, score_dataset
from distill.losses.terms.base import LossTerm
from distill.signals import CheckpointSignals, ColumnSignals
from distill.signals.provenance import HiddenVectors, check_parts, check_provenance
from distill.training.launch import rank

SOURCES = ("none", "trained", "checkpoint", "column", "ensemble", "cotrained")


def teacher_signals(
    cfg: DictConfig, dataset: Dataset, train: Callable[[], Path], hidden: Sequence[str]
) -> Signals | None:
    """Finds, computes or trains the teacher that a run names. All ranks call it together.

    Args:
        cfg: Of the run.
        dataset: What is trained on.
        train: Trains the teacher of `teacher=trained` and returns its checkpoint.
        hidden: Names of the teacher's hidden vectors that are wanted.

    Returns:
        Its signals, calibrated if asked for; None without a teacher.

    Raises:
        ConfigError: The teacher is not described.
        SignalError: Its signals are not there or belong to another dataset.
    """
    teacher = cfg.teacher
    if teacher.source not in SOURCES:
        raise ConfigError(
            "Unknown source of teacher signals.",
            where="teacher.source",
            expected=", ".join(SOURCES),
            found=str(teacher.source),
        )
    if teacher.source == "none":
        return None
    if teacher.source == "column":
        signals = _columns(cfg, dataset)
    elif teacher.source == "ensemble":
        signals = _ensemble(cfg, dataset, hidden)
    else:
        signals = _model(cfg, dataset, train() if teacher.source == "trained" else Path(teacher.path), hidden)
    method = str(teacher.get("calibration", "none"))
    if method != "none":
        signals = calibrated(signals, method, dataset, plain(cfg.data.loader))
    if not signals.probabilities:
        _refuse_pointwise(cfg)
    return signals


def _refuse_pointwise(cfg: DictConfig) -> None:
    """Refuses terms that would take an order for probabilities."""
    terms = {name: build(node, f"loss.terms.{name}") for name, node in plain(cfg.loss.terms).items()}
    wrong = [name for name, term in terms.items() if isinstance(term, LossTerm) and term.needs_probabilities]
    if wrong:
        raise ConfigError(
            "The teacher's columns hold positions: they say who is better, not how likely a label is.",
            where=", ".join(f"loss.terms.{name}" for name in wrong),
            expected="terms on the order: listmle, rrd, copr, teacher_ranknet, softmax_kl, margin_mse, …",
            found=", ".join(type(terms[name]).__name__ for name in wrong),
            remedy="Choose such terms (loss=hard +loss_term@loss.terms.list=listmle), or teacher.calibration=platt.",
        )


def _model(cfg: DictConfig, dataset: Dataset, checkpoint: Path, hidden: Sequence[str]) -> Signals:
    if cfg.teacher.signals == "cached":
        return Signals(str(_scored(cfg, dataset, checkpoint, hidden)), ColumnSignals())
    if cfg.teacher.signals != "online":
        raise ConfigError(
            "Unknown way to use a teacher.",
            where="teacher.signals",
            expected="cached or online",
            found=cfg.teacher.signals,
        )
    return frozen_signals(checkpoint, dataset)


def frozen_signals(checkpoint: Path, dataset: Dataset) -> Signals:
    """Returns the signals of a frozen teacher that runs within each step.

    Raises:
        SignalError: The teacher belongs to another dataset.
    """
    loaded = load_model(checkpoint)
    check_teacher(loaded, checkpoint, dataset)
    return Signals(None, CheckpointSignals(loaded.model), any(f.privileged for f in loaded.schema.fields))


def _scored(cfg: DictConfig, dataset: Dataset, checkpoint: Path, hidden: Sequence[str]) -> Path:
    vectors = HiddenVectors(tuple(hidden), str(cfg.teacher.hidden_type), cfg.teacher.hidden_width)
    return score_dataset(checkpoint, dataset, Path(cfg.paths.cache), None, device(cfg), vectors).folder


def _ensemble(cfg: DictConfig, dataset: Dataset, hidden: Sequence[str]) -> Signals:
    """Members are checkpoints, which are scored, or folders of signals."""
    members = [Path(str(member)) for member in plain(cfg.teacher.members)]
    folders = [m if m.is_dir() else _scored(cfg, dataset, m, hidden) for m in members]
    weights = plain(cfg.teacher.weights)
    folder = ensemble_signals(folders, weights, cfg.teacher.mean, dataset, Path(cfg.paths.cache))
    return Signals(str(folder), ColumnSignals())


def _columns(cfg: DictConfig, dataset: Dataset) -> Signals:
    tasks = dataset.schema.task_names
    if cfg.teacher.path is not None:
        folder = Path(cfg.teacher.path)
        found = check_provenance(folder, dataset.fingerprint, tasks)
        if rank() == 0:
            check_parts(folder, found)
        return Signals(str(folder), ColumnSignals())
    declared = dataset.schema.teacher
    missing = [task for task in tasks if declared is None or task not in declared.columns]
    if declared is None or missing:
        raise SignalError(
            "The dataset holds no teacher scores for every task.",
            where=str(dataset.root),
            expected=", ".join(teacher_column(task) for task in tasks),
            found=f"none for {', '.join(missing)}",
            remedy="Declare them under `teacher` in the schema and prepare again, or give teacher.path=DIR.",
        )
    return Signals("dataset", ColumnSignals(), probabilities=declared.kind != "position")
