"""Callbacks, the module and the strategy are asked at every step only for what they do there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytorch_lightning as pl
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

_OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
_CLIPPING = "configure_gradient_clipping"
_NOTHING: AbstractContextManager[None] = nullcontext()


def leave_out_idle_hooks(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Takes the hooks of a step from callbacks, the module and the strategy where they do nothing.

    Lightning calls each hook within a block of its profiler: with some fifteen callbacks, a hundred times a step. It
    leaves out a hook that cannot be called.

    Args:
        trainer: With all its callbacks.
        module: That it will train.
    """
    for callback in callbacks_of(trainer):
        _leave_out(callback, pl.Callback, _OF_A_STEP)
    _leave_out(module, pl.LightningModule, _OF_A_STEP)
    if trainer.gradient_clip_val is None:
        _leave_out(module, pl.LightningModule, (_CLIPPING,))
    if type(trainer.strategy) is SingleDeviceStrategy:
        trainer.strategy.on_train_batch_start = None  # type: ignore[method-assign, assignment]


def _leave_out(owner: object, base: type, hooks: tuple[str, ...]) -> None:
    for hook in hooks:
        if not gives(owner, base, hook):
            setattr(owner, hook, None)


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Returns the callbacks of a trainer, in their order."""
    found: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it without declaring it
    return found


def gives(owner: object, base: type, hook: str) -> bool:
    """Says whether an object's class has a hook of its own, other than that of the base class."""
    return getattr(type(owner), hook) is not getattr(base, hook)


class QuietProfiler(PassThroughProfiler):
    """Lightning's profiler that measures nothing, at less cost: its blocks are made anew each time."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Returns a block that does nothing."""
        return _NOTHING
