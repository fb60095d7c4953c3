"""Inputs of loss terms, built from a few arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, RankerOutput, Stage, TeacherSignals
from distill.losses.terms.base import LossInputs, TaskInfo

InputsFactory = Callable[..., LossInputs]


def _no_features(num_rows: int) -> FeatureBlock:
    return FeatureBlock(torch.zeros(num_rows, 0, dtype=torch.int64), torch.zeros(num_rows, 0), {}, {})


def _tensor(values: Sequence[object] | Tensor | None, default: Tensor) -> Tensor:
    return default if values is None else torch.as_tensor(values).to(default.dtype)


def build_inputs(
    logits: Tensor,
    sizes: Sequence[int],
    *,
    teacher: Tensor | None = None,
    valid: Sequence[bool] | Tensor | None = None,
    labels: Sequence[object] | Tensor | None = None,
    observed: Sequence[object] | Tensor | None = None,
    weight: Sequence[float] | Tensor | None = None,
    stage: Sequence[int] | Tensor | None = None,
    origin: Sequence[int] | Tensor | None = None,
    item_id: Sequence[int] | Tensor | None = None,
    step: int = 0,
) -> LossInputs:
    """Builds inputs for requests of the given sizes; by default all exposed, observed, valid and of weight 1."""
    num_rows, num_requests = logits.shape[0], len(sizes)
    ids = torch.arange(num_rows)
    batch = Batch(
        request=_no_features(num_requests),
        candidate=_no_features(num_rows),
        cross=_no_features(num_rows),
        request_index=torch.arange(num_requests).repeat_interleave(torch.tensor(sizes, dtype=torch.int64)),
        labels=_tensor(labels, torch.zeros(logits.shape)),
        observed=_tensor(observed, torch.ones(logits.shape, dtype=torch.bool)),
        stage=_tensor(stage, torch.full((num_rows,), int(Stage.EXPOSED))),
        origin=_tensor(origin, torch.full((num_rows,), int(Origin.LOG))),
        weight=_tensor(weight, torch.ones(num_rows)),
        request_id=torch.arange(num_requests),
        user_id=torch.arange(num_requests),
        item_id=_tensor(item_id, ids),
        row=ids,
        columns={},
    )
    signals = None
    if teacher is not None:
        signals = TeacherSignals(teacher, _tensor(valid, torch.ones(num_rows, dtype=torch.bool)), {})
    return LossInputs(batch, RankerOutput(logits, {}), signals, step)


@pytest.fixture
def make_inputs() -> InputsFactory:
    return build_inputs


@pytest.fixture
def two_tasks() -> list[TaskInfo]:
    return [TaskInfo("click", 1.0), TaskInfo("buy", 0.5)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
