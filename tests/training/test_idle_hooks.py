"""What the trainer is spared at every step, and what it is not."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl

from distill.training import own_loop
from distill.training.callbacks import LossLog
from distill.training.idle_hooks import QuietProfiler, leave_out_idle_hooks
from distill.training.plain_steps import PlainSteps
from tests.training.stepping import module_of
from tests.training.test_no_sync_fit import STEPS, Batches


def trainer_with(**settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=QuietProfiler(),
        **settings,
    )


def test_hooks_that_do_nothing_are_left_out_and_others_stay() -> None:
    module, log = module_of("two_tower"), LossLog(1)
    trainer = trainer_with(callbacks=[log], max_epochs=1)
    leave_out_idle_hooks(trainer, module)
    assert module.on_before_zero_grad is None
    assert module.configure_gradient_clipping is None
    assert callable(module.on_before_optimizer_step)
    assert callable(module.on_after_batch_transfer)  # what it returns is the batch
    assert log.on_train_batch_start is None
    assert callable(log.on_train_batch_end)
    trainer.fit(module, Batches())
    assert trainer.global_step == STEPS
    assert "train/loss" in trainer.callback_metrics


@pytest.mark.parametrize("norm", [None, 1e-9])
def test_lightnings_own_clipping_stays_where_it_is_asked_for(norm: float | None) -> None:
    module = module_of("two_tower", embedding="sparse_adam")
    trainer = trainer_with(max_epochs=1, gradient_clip_val=norm, gradient_clip_algorithm="value")
    leave_out_idle_hooks(trainer, module)
    assert callable(module.configure_gradient_clipping) == (norm is not None)


def test_blocks_of_the_quiet_profiler_do_nothing_and_let_errors_through() -> None:
    profiler = QuietProfiler()
    with pytest.raises(ValueError, match="inside"), profiler.profile("one"), profiler.profile("two"):
        raise ValueError("inside")


@pytest.mark.parametrize(("version", "is_ours"), [("2.6.6", True), ("2.7.0", False)])
def test_the_loop_is_ours_for_the_versions_that_it_knows(
    version: str, is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_with(max_epochs=1)
    monkeypatch.setattr(own_loop, "version", lambda package: version)
    own_loop.take_plain_steps(trainer)
    assert isinstance(trainer.fit_loop.epoch_loop, PlainSteps) == is_ours
