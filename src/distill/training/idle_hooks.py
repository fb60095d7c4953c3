"""Callbacks are asked at every step only for what they do there."""

from __future__ import annotations

import pytorch_lightning as pl

_OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def leave_out_idle_hooks(trainer: pl.Trainer) -> None:
    """Takes the hooks of a step from callbacks that do nothing in them.

    Lightning calls each hook of each callback within a block of its profiler: with some fifteen callbacks, a hundred
    times a step. It leaves out a hook that cannot be called.

    Args:
        trainer: With all its callbacks.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        for hook in _OF_A_STEP:
            if getattr(type(callback), hook) is getattr(pl.Callback, hook):
                setattr(callback, hook, None)
