"""Why the steps of a fit are not captured."""

from __future__ import annotations

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from distill.layers.batch_norm import BatchNorm
from distill.losses import LossTerm
from distill.training.callbacks import StopOnNonFinite
from distill.training.capture.recorder import Recorder
from distill.training.combined import CombinedOptimizer
from distill.training.finite import StepGradients
from distill.training.idle_hooks import callbacks_of, gives
from distill.training.module import RankingModule

_HOOKS = ("on_before_backward", "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step")
_PRECISIONS = ("32-true", "bf16-mixed")


def why_not_captured(module: RankingModule, trainer: pl.Trainer, recorder: Recorder | None) -> str | None:
    """Returns the first reason that there is; None if steps can be captured.

    Args:
        module: Where it trains.
        trainer: Of the fit.
        recorder: Of the device; None if there is none for such devices.
    """
    if recorder is None:
        return "the model is on no GPU"
    return next((reason for reason in (*_of_trainer(trainer), *_of_module(module)) if reason), None)


def _of_trainer(trainer: pl.Trainer) -> Iterator[str | None]:
    yield _of_strategy(trainer)
    by_nodes = 1 < trainer.num_nodes < trainer.world_size
    yield "touched rows are exchanged between the ranks of each node first" if by_nodes else None
    precision = str(trainer.precision)
    other = f"trainer.precision is {precision}, not {' or '.join(_PRECISIONS)}"
    yield None if precision in _PRECISIONS else other
    every = trainer.accumulate_grad_batches
    yield f"gradients of {every} batches are added up" if every != 1 else None
    yield "trainer.gradient_clip_val is set (see optimizer.clip_norm)" if trainer.gradient_clip_val else None
    yield "trainer.detect_anomaly is set" if torch.is_anomaly_enabled() or trainer._detect_anomaly else None
    yield next((f"the callback {type(c).__name__} acts within a step" for c in _within(trainer)), None)
    known = len(trainer.optimizers) == 1 and isinstance(trainer.optimizers[0], CombinedOptimizer)
    yield None if known else "the optimiser is none of this package"


def _of_strategy(trainer: pl.Trainer) -> str | None:
    """DDP's own exchange takes no part in a captured step, so what it has been told of it would be ignored."""
    strategy = trainer.strategy
    if type(strategy) is DDPStrategy:
        told = {name: value for name, value in strategy._ddp_kwargs.items() if value}
        told |= {"ddp_comm_hook": strategy._ddp_comm_hook, "model_averaging_period": strategy._model_averaging_period}
        given = [name for name, value in told.items() if value is not None]
        return f"the strategy has options for the exchange of gradients ({', '.join(given)})" if given else None
    return None if isinstance(strategy, SingleDeviceStrategy) else f"the strategy is {type(strategy).__name__}"


def _within(trainer: pl.Trainer) -> Iterator[pl.Callback]:
    """Callbacks that a replayed step leaves out."""
    for callback in callbacks_of(trainer):
        changed = any(gives(callback, pl.Callback, hook) for hook in _HOOKS)
        if changed and not isinstance(callback, StopOnNonFinite):
            yield callback


def _of_module(module: RankingModule) -> Iterator[str | None]:
    learns = module.signals is not None and module.signals.learns
    yield "the teacher learns in the same step" if learns else None
    yield "embedding tables are sharded" if StepGradients(module).are_shared else None
    yield "GradNorm asks for the gradient of each term" if module.loss.reads_parameters else None
    for part in (part for of in (module.model, module.loss) for part in of.modules()):
        yield _of_part(part)


def _of_part(part: nn.Module) -> str | None:
    name = type(part).__name__
    if getattr(part, "needs_shapes", False):
        what = f"the loss term {name}" if isinstance(part, LossTerm) else name.removeprefix("_")
        return f"the sizes of what {what} computes depend on values"
    if isinstance(part, BatchNorm):
        return "a batch norm would count rows of padding"
    return "layers are compiled (compile.enabled)" if part._compiled_call_impl is not None else None
