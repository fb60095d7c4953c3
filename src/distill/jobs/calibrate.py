"""Calibrates a teacher on the validation split, for every student that learns from it in this run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from distill.data.datamodule import Loading, RankingDataModule, View
from distill.data.format import Dataset
from distill.jobs.fit_plan import Signals
from distill.ops.ranks import rank
from distill.signals.calibration import CalibratedSignals, Floats, PiecewiseLinear, fit_calibration

_log = logging.getLogger(__name__)


def calibrated(signals: Signals, method: str, dataset: Dataset, loader: Mapping[str, Any]) -> Signals:
    """Returns the signals mapped so that their probabilities are those of the labels of the validation split.

    Args:
        signals: Of the teacher; scores of binary tasks are mapped.
        method: temperature | platt | isotonic.
        dataset: Its validation split is read once, by every process.
        loader: Arguments of the data module.

    Raises:
        ConfigError: The method is unknown.
        SignalError: A binary task has no labels to fit on.
    """
    found = _scored_labels(signals, dataset, loader)
    maps: dict[int, PiecewiseLinear] = {}
    for column, task in enumerate(dataset.schema.tasks):
        if task.kind != "binary" or (signals.source.tasks is not None and task.name not in signals.source.tasks):
            continue
        logits, labels, weight = found[column]
        maps[column] = fit_calibration(method, logits, labels, weight)
        if rank() == 0:
            after = maps[column](torch.from_numpy(logits)).numpy()
            before, now = (float((weight * expit(z)).sum() / (weight * labels).sum()) for z in (logits, after))
            _log.info(
                "Teacher of task %s calibrated (%s) on %s labelled rows of the validation split: PCOC %.3f, was %.3f",
                task.name,
                method,
                f"{labels.size:,}",
                now,
                before,
            )
    return replace(signals, source=CalibratedSignals(signals.source, maps), probabilities=True)


@torch.no_grad()
def _scored_labels(
    signals: Signals, dataset: Dataset, loader: Mapping[str, Any]
) -> list[tuple[Floats, Floats, Floats]]:
    """Returns logits, labels and weights of the scored and labelled validation rows of every task."""
    view: View = "full" if signals.privileged else "serving"
    data = RankingDataModule(dataset.root, Loading(**loader), view=view, signals={"val": signals.reader}, hidden=())
    parts: list[list[tuple[Floats, Floats, Floats]]] = [[] for _ in dataset.schema.tasks]
    for batch in data.loader("val", rank=0, world_size=1):
        given = signals.source(batch)
        for column, of_task in enumerate(parts):
            rows = given.valid & batch.observed[:, column]
            columns = (given.logits[rows, column], batch.labels[rows, column], batch.weight[rows])
            logits, labels, weight = (values.double().numpy() for values in columns)
            of_task.append((logits, labels, weight))
    return [_joined(of_task) for of_task in parts]


def _joined(parts: list[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    logits, labels, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return logits, labels, weight
