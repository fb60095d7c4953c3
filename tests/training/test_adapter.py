"""A step that trains a student beside the adapter of its teacher."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from distill.training.module import RankingModule
from tests.training.stepping import batch_of
from tests.training.test_no_sync import of_adapter


def norm_of(parameters: Iterable[nn.Parameter]) -> float:
    found = [p.grad for p in parameters if p.grad is not None and not p.grad.is_sparse]
    return float(torch.linalg.vector_norm(torch.cat([grad.flatten() for grad in found])))


def finished(module: RankingModule, clip_norm: float) -> tuple[float, float]:
    """Norms of the dense gradients of the student and of the adapter, as the update gets them."""
    module._optimizer_factory = replace(module._optimizer_factory, clip_norm=clip_norm)
    module.zero_grad()
    module.on_train_start()
    module.report_of(batch_of(serving=True), 0).total.backward()
    module.finish_gradients()
    assert module.loss.adapter is not None
    return norm_of(module.model.parameters()), norm_of(module.loss.adapter.parameters())


def test_the_gradients_of_student_and_adapter_are_clipped_apart() -> None:
    module = of_adapter("affine")
    free = finished(module, 0.0)
    between = (min(free) * max(free)) ** 0.5
    assert min(free) < between < max(free)
    clipped = finished(module, between)
    assert min(clipped) == min(free), "one that is short enough stays, whatever the other is"
    torch.testing.assert_close(max(clipped), between, rtol=1e-4, atol=0)
