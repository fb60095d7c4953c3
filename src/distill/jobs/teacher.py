"""Where the teacher signals of a run come from: its `teacher` config, turned into files beside the data or a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from distill.data.coverage import teacher_numbers
from distill.data.format import Dataset, teacher_column
from distill.errors import ConfigError, SignalError
from distill.jobs.calibrate import calibrated
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.ensemble import ensemble_signals
from distill.jobs.fit_plan import FitPlan, Signals
from distill.jobs.machine import device
from distill.jobs.node import plain
from distill.jobs.parts import load_model
from distill.jobs.score import check_teacher, score_dataset
from distill.jobs.sent_model import SentModel
from distill.models.score import RankingScore
from distill.ops.ranks import rank
from distill.reports.teacher import teacher_lines, teacher_warnings
from distill.schema import Schema, log_rates
from distill.signals import CheckpointSignals, ColumnSignals, ProjectedSignals, SignalSource
from distill.signals.provenance import HiddenVectors, check_parts, check_provenance, read_provenance

_log = logging.getLogger(__name__)
_WRITTEN = {"hidden_type": "float32", "hidden_width": None}


def teacher_signals(cfg: DictConfig, dataset: Dataset, train: Callable[[], Path], plan: FitPlan) -> Signals | None:
    """Finds, computes or trains the teacher that a run names. All ranks call it together.

    Args:
        cfg: Of the run.
        dataset: What is trained on.
        train: Trains the teacher of `teacher=trained` and returns its checkpoint.
        plan: Of the student that listens to it.

    Returns:
        Its signals, calibrated if asked for; None without a teacher.

    Raises:
        ConfigError: A term of the loss takes its order for probabilities.
        SignalError: Its signals are not there or belong to another dataset.
    """
    teacher, hidden = cfg.teacher, plan.teacher_vectors
    if teacher.source == "none":
        return None
    _refuse_unwritten(cfg)
    if teacher.source == "column":
        signals = _columns(cfg, dataset, hidden)
    elif teacher.source == "ensemble":
        signals = _ensemble(cfg, dataset, hidden)
    else:
        signals = _model(
            cfg, dataset, train() if teacher.source == "trained" else checkpoint_of(Path(teacher.path)), hidden
        )
    method = str(teacher.get("calibration", "none"))
    if method != "none":
        signals = calibrated(signals, method, dataset, plain(cfg.data.loader))
    if not signals.probabilities:
        _refuse_pointwise(plan)
    return signals


def _refuse_unwritten(cfg: DictConfig) -> None:
    """Refuses options of written hidden vectors where none are written."""
    teacher = cfg.teacher
    if teacher.get("signals") != "online":
        return
    given = [name for name, default in _WRITTEN.items() if teacher.get(name, default) != default]
    if given:
        raise ConfigError(
            "A teacher that runs in each step writes no hidden vectors: the student gets them as they are.",
            where=", ".join(f"teacher.{name}" for name in given),
            expected=", ".join(
                f"teacher.{name}={'null' if _WRITTEN[name] is None else _WRITTEN[name]}" for name in given
            ),
            found=", ".join(f"teacher.{name}={teacher[name]}" for name in given),
            remedy="Leave them out, or choose teacher.signals=cached.",
        )


def _refuse_pointwise(plan: FitPlan) -> None:
    """Refuses terms that would take an order for probabilities."""
    if plan.probabilities:
        raise ConfigError(
            "The teacher's columns hold positions: they say who is better, not how likely a label is.",
            where=", ".join(f"loss.terms.{name}" for name in plan.probabilities),
            expected="terms on the order: listmle, rrd, copr, teacher_ranknet, softmax_kl, margin_mse, …",
            found=", ".join(type(plan.terms[name]).__name__ for name in plan.probabilities),
            remedy="Choose such terms (loss=hard +loss_term@loss.terms.list=listmle), or teacher.calibration=platt.",
        )


def _model(cfg: DictConfig, dataset: Dataset, checkpoint: Path, hidden: Sequence[str]) -> Signals:
    if cfg.teacher.signals == "cached":
        return _written(_scored(cfg, dataset, checkpoint, hidden), dataset)
    return frozen_signals(checkpoint, dataset)


def frozen_signals(checkpoint: Path, dataset: Dataset) -> Signals:
    """Returns the signals of a frozen teacher that runs within each step.

    Raises:
        SignalError: The teacher belongs to another dataset.
    """
    loaded = load_model(checkpoint)
    check_teacher(loaded, checkpoint, dataset)
    source = CheckpointSignals(loaded.model)
    projected = ProjectedSignals.of(source, loaded.schema.log_rates, dataset.schema.log_rates)
    return Signals(None, projected, any(f.privileged for f in loaded.schema.fields))


def _written(folder: Path, dataset: Dataset) -> Signals:
    """Returns the signals of a folder, which holds the logits of a teacher as they are."""
    own = log_rates(read_provenance(folder).negative_sampling, dataset.schema.task_names)
    return Signals(str(folder), ProjectedSignals.of(ColumnSignals(), own, dataset.schema.log_rates))


def logged_signals(schema: Schema) -> SignalSource:
    """Returns the signals of a production ranker, whose columns a dataset of this schema holds."""
    declared, source = schema.teacher, ColumnSignals(schema.logged_tasks)
    if declared is None or declared.kind == "position":
        return source
    return ProjectedSignals.of(source, log_rates(declared.negative_sampling, schema.task_names), schema.log_rates)


def _scored(cfg: DictConfig, dataset: Dataset, checkpoint: Path, hidden: Sequence[str]) -> Path:
    vectors = HiddenVectors(tuple(hidden), str(cfg.teacher.hidden_type), cfg.teacher.hidden_width)
    teacher = SentModel.of(checkpoint, cfg)
    return score_dataset(teacher, dataset, Path(cfg.paths.cache), None, device(cfg), vectors).folder


def _ensemble(cfg: DictConfig, dataset: Dataset, hidden: Sequence[str]) -> Signals:
    """Members are checkpoints or run folders, which are scored, or folders of signals."""
    members = [checkpoint_of(Path(str(member))) for member in plain(cfg.teacher.members)]
    folders = [m if m.is_dir() else _scored(cfg, dataset, m, hidden) for m in members]
    weights = plain(cfg.teacher.weights)
    return _written(ensemble_signals(folders, weights, cfg.teacher.mean, dataset, Path(cfg.paths.cache)), dataset)


def _columns(cfg: DictConfig, dataset: Dataset, hidden: Sequence[str]) -> Signals:
    tasks = dataset.schema.task_names
    if cfg.teacher.path is not None:
        folder = Path(cfg.teacher.path)
        found = check_provenance(folder, dataset.fingerprint, tasks)
        _check_hidden(hidden, found.hidden.names, str(folder))
        if rank() == 0:
            check_parts(folder, found)
            _describe(cfg, dataset, tasks, folder)
        return _written(folder, dataset)
    declared = dataset.schema.teacher
    if declared is None:
        raise SignalError(
            "The dataset holds no teacher scores.",
            where=str(dataset.root),
            expected=" or ".join(teacher_column(task) for task in tasks),
            found="none",
            remedy="Declare them under `teacher` in the schema and prepare again, or give teacher.path=DIR.",
        )
    _check_hidden(hidden, tuple(declared.hidden or {}), f"{dataset.root}: teacher.hidden in the schema")
    logged = dataset.schema.logged_tasks
    if rank() == 0:
        _describe(cfg, dataset, logged, None)
        _describe_score(dataset.schema)
    return Signals("dataset", logged_signals(dataset.schema), probabilities=declared.kind != "position")


def _check_hidden(wanted: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raises SignalError if the loss reads hidden vectors that the columns lack, before anything is trained."""
    missing = [name for name in wanted if name not in known]
    if missing:
        raise SignalError(
            "The teacher has no such hidden vector.",
            where=where,
            expected=", ".join(known) or "vectors that were logged or scored",
            found=", ".join(missing),
            remedy="Declare logged vectors under `teacher.hidden` in the schema and prepare again, score with "
            "hidden=[NAME], or name another: loss.terms.NAME.teacher=…",
        )


def scored_tasks(cfg: DictConfig, schema: Schema) -> tuple[str, ...]:
    """Returns the names of the tasks that the teacher of a run scores, if it has one: columns may be of some tasks."""
    logged = cfg.teacher.source == "column" and cfg.teacher.path is None
    return schema.logged_tasks if logged else schema.task_names


def _describe(cfg: DictConfig, dataset: Dataset, tasks: Sequence[str], folder: Path | None) -> None:
    """Says what the scores are like, and warns of what looks wrong."""
    numbers = teacher_numbers(dataset, tasks, folder)
    declared = dataset.schema.teacher if folder is None else None
    kind = "logit" if declared is None else declared.kind
    for line in teacher_lines(numbers, dataset.schema, kind):
        _log.info(line)
    calibrated = str(cfg.teacher.get("calibration", "none")) != "none"
    for line in teacher_warnings(numbers, dataset.schema, kind, calibrated, logged=folder is None):
        _log.warning("WARNING: %s", line)


def _describe_score(schema: Schema) -> None:
    """Says by what the teacher orders candidates, if it does not score all tasks of the ranking score."""
    whole, own = RankingScore(schema).tasks, RankingScore(schema, schema.logged_tasks).tasks
    left_out = ", ".join(task for task in whole if task not in own)
    if not own:
        _log.warning("The teacher scores no task of the ranking score (%s): it orders no candidates.", left_out)
    elif left_out:
        _log.info("The teacher orders candidates by %s: it does not score %s.", ", ".join(own), left_out)
