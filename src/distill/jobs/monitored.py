"""The monitored metric, before anything is trained: whether it is measured, and whether the labels let it have a value.

Both are found by computing the metrics on scores that stand in for a model's, so that nothing needs to be known of any
metric, not even of the user's own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig

from distill.batch import Batch, Stage
from distill.data.format import Dataset
from distill.data.popularity import ItemExposures
from distill.data.stream.part import iterate_part
from distill.errors import ConfigError
from distill.jobs.node import build, plain
from distill.jobs.parts import build_metrics
from distill.jobs.teacher import scored_tasks
from distill.metrics import MetricSuite, ScoredRows, canonical, concatenate, give_exposures, give_known_items
from distill.models.score import RankingScore
from distill.schema import Schema

_REQUESTS, _CANDIDATES = 8, 32
_WITH_TEACHER = ("checkpoint", "column", "ensemble", "cotrained")  # `trained` validates its teacher without one


def monitored(cfg: DictConfig, schema: Schema) -> dict[str, Any]:
    """Returns the configs of the metrics that the monitored one comes from, as plain data; name to config."""
    nodes, monitor = plain(cfg.metrics.metrics), _metric(cfg)
    known = measured_names(cfg, schema, seen_of_teacher(cfg, schema))
    return {name: nodes[name] for name, names in known.items() if monitor in names and name in nodes}


def check_measured(cfg: DictConfig, schema: Schema) -> None:
    """Finds a mistyped metric or task before any data is prepared.

    Raises:
        ConfigError: The monitored metric is of an unknown task, or will not be measured.
    """
    monitor, tasks = str(cfg.callbacks.monitor), schema.task_names
    parts = monitor.split("/")
    if len(parts) >= 3 and parts[-2] not in tasks:
        raise ConfigError(
            "The monitored metric belongs to an unknown task.",
            where="callbacks.monitor",
            expected=f"a task of the dataset: {', '.join(tasks)}",
            found=monitor,
            remedy="Set data.main_task.",
        )
    found = measured_names(cfg, schema, seen_of_teacher(cfg, schema))
    known = sorted({name for names in found.values() for name in names})
    if not monitor.startswith("val/") or _metric(cfg) not in known:
        raise ConfigError(
            "The monitored metric is not measured.",
            where="callbacks.monitor",
            expected=", ".join(f"val/{name}" for name in known),
            found=monitor,
        )


def value_on_validation(cfg: DictConfig, dataset: Dataset) -> float | None:
    """Computes the monitored metric on the labels of the validation split, with scores drawn at random.

    Returns:
        Its value; NaN if it is undefined, whatever the scores; None if these labels leave it out.

    Raises:
        DataError: A file of the split cannot be read.
    """
    node = {**plain(cfg.metrics), "metrics": monitored(cfg, dataset.schema)}
    suite: MetricSuite = build_metrics(node, dataset)
    view = dataset.schema.model_copy(update={"fields": ()})
    draw, rows = torch.Generator().manual_seed(0), list[ScoredRows]()
    for number in range(len(dataset.parts("val"))):
        for batch in iterate_part(dataset, "val", number, view, 1 << 20):
            rows.append(_scored(_of(batch), seen_of_teacher(cfg, dataset.schema), draw))
    return suite.compute(canonical(concatenate(rows)).rows, dataset.schema.task_names).get(_metric(cfg))


def _metric(cfg: DictConfig) -> str:
    """The monitored metric without its split, and without a cotrained teacher whose it is."""
    name = str(cfg.callbacks.monitor).removeprefix("val/")
    return name.removeprefix("teacher/") if cfg.teacher.source == "cotrained" else name


def measured_names(cfg: DictConfig, schema: Schema, teacher: tuple[bool, bool]) -> dict[str, set[str]]:
    """Names what each metric of a run gives on labels of both classes.

    Args:
        cfg: Of the run.
        schema: Of the data.
        teacher: Whether there are a teacher's logits, and a ranking score by them.
    """
    suite: MetricSuite = build(cfg.metrics, "metrics", MetricSuite)
    rows, tasks = _made_up(schema, teacher), schema.task_names
    give_exposures(suite.metrics, ItemExposures(*torch.unique(rows.item_id, return_counts=True)))
    give_known_items(suite.metrics, rows.item_id[: _CANDIDATES // 2])
    alone = {name: MetricSuite({name: metric}, suite.counts) for name, metric in suite.metrics.items()}
    return {name: set(one.compute(rows, tasks)) for name, one in alone.items()}


def seen_of_teacher(cfg: DictConfig, schema: Schema) -> tuple[bool, bool]:
    """Says whether validation sees a teacher's logits, and a ranking score by them."""
    scores = cfg.teacher.source in _WITH_TEACHER
    return scores, scores and bool(RankingScore(schema, scored_tasks(cfg, schema)).tasks)


def _made_up(schema: Schema, teacher: tuple[bool, bool]) -> ScoredRows:
    count, tasks = _REQUESTS * _CANDIDATES, len(schema.tasks)
    request = torch.arange(_REQUESTS).repeat_interleave(_CANDIDATES)
    rows = ScoredRows(
        row=torch.arange(count),
        request_id=request,
        user_id=request // 2,
        item_id=torch.arange(count) % _CANDIDATES,
        logits=torch.zeros(count, tasks),
        score=torch.zeros(count),
        labels=(torch.arange(count) % 2).float().unsqueeze(1).expand(-1, tasks),
        observed=torch.ones(count, tasks, dtype=torch.bool),
        stage=torch.full((count,), int(Stage.EXPOSED)),
        weight=torch.ones(count),
        columns={name: torch.linspace(0, 1, count) for name in schema.value_columns},
    )
    return _scored(rows, teacher, torch.Generator().manual_seed(0))


def _of(batch: Batch) -> ScoredRows:
    return ScoredRows(
        row=batch.row,
        request_id=batch.request_id.index_select(0, batch.request_index),
        user_id=batch.user_id.index_select(0, batch.request_index),
        item_id=batch.item_id,
        logits=torch.zeros_like(batch.labels),
        score=torch.zeros_like(batch.weight),
        labels=batch.labels,
        observed=batch.observed,
        stage=batch.stage,
        weight=batch.weight,
        columns=batch.columns,
    )


def _scored(rows: ScoredRows, teacher: tuple[bool, bool], draw: torch.Generator) -> ScoredRows:
    """Gives rows random logits and scores, and those of a teacher if there is one."""
    shape, (logits, score) = rows.logits.shape, teacher
    return replace(
        rows,
        logits=torch.randn(shape, generator=draw),
        score=torch.randn(shape[0], generator=draw),
        teacher_logits=torch.randn(shape, generator=draw) if logits else None,
        teacher_score=torch.randn(shape[0], generator=draw) if score else None,
        teacher_valid=torch.ones(shape[0], dtype=torch.bool) if logits else None,
    )


def is_undefined(value: float | None) -> bool:
    """Whether a metric has no value on the labels at hand."""
    return value is None or not math.isfinite(value)
