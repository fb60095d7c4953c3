"""Whether the labels of a dataset let its tasks be learned, and training go by the monitored metric."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from distill.data.format import Dataset
from distill.data.labels import LabelCounts, label_counts
from distill.errors import DataError
from distill.jobs.fit_plan import FitPlan
from distill.jobs.monitored import is_undefined, value_on_validation
from distill.jobs.sizes import assumed
from distill.jobs.teacher import scored_tasks
from distill.losses.terms.base import LossTerm
from distill.ops.ranks import rank
from distill.sampling import PseudoLabels, Sampler, WeightedPseudoLabels
from distill.schema import Task

_log = logging.getLogger(__name__)
_NO_LABEL, _NO_POSITIVE = "no label", "no positive"
_OTHER_SPLIT = "Split the data otherwise (such as split@data.adapter.split=random, or another val and test share)"


def check_labels(cfg: DictConfig, dataset: Dataset) -> None:
    """Refuses what would train without learning, or end by a metric that has no value; before anything is trained.

    Rank 0 looks; if it refuses, the others end with it.

    Raises:
        DataError: The training split has labels of one class only for a task that the loss learns from them, or the
            monitored metric is undefined on the labels of the validation split.
    """
    if rank() != 0:
        return
    _check_training(cfg, dataset)
    _check_monitored(cfg, dataset)
    for task, counts in label_counts(dataset, "test").items():
        if (lack := _lack(counts, dataset.schema.tasks[dataset.schema.task_names.index(task)])) is not None:
            _log.warning("WARNING: test has %s of task %s (%s): metrics of it are undefined there.", lack, task, counts)


def _check_training(cfg: DictConfig, dataset: Dataset) -> None:
    cfg = assumed(cfg)
    plans = [(FitPlan.main(cfg), cfg.teacher.source != "none")]
    if cfg.teacher.source in ("trained", "cotrained"):
        plans.append((FitPlan.of(cfg, "teacher"), False))
    counts, taught = label_counts(dataset, "train"), scored_tasks(cfg, dataset.schema)
    for plan, has_signals in plans:
        plan.check(dataset.schema, taught, has_signals)
        _warn_of_comparisons(plan, dataset)
        for name, term in plan.terms.items():
            where = f"{plan.key('loss')}.terms.{name}"
            for task in (task for task in dataset.schema.tasks if task.name in term.label_tasks):
                _check_labels_of(task, counts[task.name], term, list(plan.samplers.values()), where, dataset.root)


def _warn_of_comparisons(plan: FitPlan, dataset: Dataset) -> None:
    """Says which terms compare candidates of a request where each request has one."""
    idle = [name for name, term in plan.terms.items() if term.compares]
    if idle and dataset.schema.layout == "flat" and not plan.samplers:
        _log.warning(
            "WARNING: %s compare candidates of a request, and every request of flat rows has one: they teach nothing. "
            "Group the rows into requests (layout: requests and keys.request in the schema), or use pointwise terms, "
            "such as loss=pointwise.",
            ", ".join(f"{plan.key('loss')}.terms.{name}" for name in idle),
        )


def _check_labels_of(
    task: Task, counts: LabelCounts, term: LossTerm, samplers: Sequence[Sampler], where: str, root: Path
) -> None:
    """Refuses a task of which a term, with the samplers of its model, would learn nothing."""
    lack = _lack(counts, task)
    if lack is None or task.weight == 0 or _labelled_by(samplers, task.name):
        return
    if lack in (_NO_LABEL, _NO_POSITIVE) or (term.needs_both_classes and not samplers):
        raise DataError(
            f"train has {lack} of task {task.name}, so there is nothing to learn of it.",
            where=f"{where} (task {task.name}); {root / 'train'}",
            expected="labels of more than one kind",
            found=f"train: {counts}",
            remedy=f"{_OTHER_SPLIT}; or leave the task out of the schema, or out of {where}.tasks.",
        )


def _check_monitored(cfg: DictConfig, dataset: Dataset) -> None:
    monitor = str(cfg.callbacks.monitor)
    value = value_on_validation(cfg, dataset)
    if not is_undefined(value):
        return
    tasks = {task.name: task for task in dataset.schema.tasks}
    of = {name for name in monitor.split("/") if name in tasks} or set(tasks)
    counts = {name: found for name, found in label_counts(dataset, "val").items() if name in of}
    lacks = [f"{lack} of task {name}" for name, found in counts.items() if (lack := _lack(found, tasks[name]))]
    reason = f"val has {' and '.join(lacks)}" if lacks else "No request, user or band of items in val has what it needs"
    raise DataError(
        f"{reason}, so {monitor} is undefined: early stopping and the best checkpoint cannot go by it.",
        where=f"callbacks.monitor; {dataset.root / 'val'}",
        expected="validation labels on which the monitored metric has a value",
        found="; ".join(f"val, task {name}: {found}" for name, found in counts.items()),
        remedy=f"{_OTHER_SPLIT}; or go by another metric: callbacks.monitor=val/TASK/logloss",
    )


def _lack(counts: LabelCounts, task: Task) -> str | None:
    """Says what the labels of a task lack, if anything."""
    if counts.labelled == 0:
        return _NO_LABEL
    if task.kind == "value":
        return f"one value ({counts.lowest:g})" if counts.lowest == counts.highest else None
    if counts.positives == 0:
        return _NO_POSITIVE
    if task.kind == "graded":
        return f"one grade ({counts.lowest:g})" if counts.lowest == counts.highest else None
    return "no negative" if counts.negatives == 0 else None


def _labelled_by(samplers: Sequence[Sampler], task: str) -> bool:
    """Whether a teacher labels candidates of the task."""
    kinds = (PseudoLabels, WeightedPseudoLabels)
    return any(isinstance(s, kinds) and (s.tasks is None or task in s.tasks) for s in samplers)
