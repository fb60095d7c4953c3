"""Batches whose gradients are added up make the step of one batch of all their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.batch import Batch
from distill.training.lr_schedule import LRSchedule
from tests.training.stepping import batch_of, module_of

STEPS = 3


def _batch(seed: int) -> Batch:
    """Rows that all weigh the same, so that halves of a batch have the same sum of weights."""
    made = batch_of(serving=False, seed=seed, sizes=(4, 4))
    return replace(made, weight=torch.ones(8), observed=torch.ones(8, 2, dtype=torch.bool))


class _Loader:
    """Batches as a data loader gives them."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def _trained(embedding: str, batches: list[Batch], accumulate: int) -> tuple[dict[str, Tensor], list[float], int]:
    """Weights, learning rates of the steps, and their number."""
    module = module_of("dcn_v2", embedding=embedding)
    module._schedule = LRSchedule("linear", 0, 0.1)
    rates: list[float] = []

    class Rates(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Rates()],
    )
    trainer.fit(module, _Loader(batches))
    return {name: value.clone() for name, value in module.model.state_dict().items()}, rates, trainer.global_step


@pytest.mark.parametrize("embedding", ["rowwise_adagrad", "sparse_adam"])
def test_two_halves_are_the_whole(embedding: str) -> None:
    whole = [_batch(seed) for seed in range(STEPS)]
    halves = [batch.select(rows) for batch in whole for rows in (torch.arange(4), torch.arange(4, 8))]
    expected, rates, steps = _trained(embedding, whole, 1)
    found, own_rates, own_steps = _trained(embedding, halves, 2)
    assert steps == own_steps == STEPS
    assert rates == own_rates
    assert len(set(rates)) == STEPS, "the schedule counts optimiser steps"
    begin = module_of("dcn_v2", embedding=embedding).model.state_dict()
    assert any(not torch.equal(begin[name], value) for name, value in expected.items())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    half_seen, _, _ = _trained(embedding, halves[::2], 1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(half_seen, expected, atol=1e-4, rtol=1e-3)
