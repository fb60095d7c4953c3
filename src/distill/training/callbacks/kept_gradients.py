"""Gradients that were added up when a run was interrupted go on being added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from distill.errors import DataError
from distill.ops.rows import give_gradient

_KEY = "distill_kept_gradients"


class KeptGradients(pl.Callback):
    """Keeps, in checkpoints between two optimiser steps, the gradients of the batches since the last one.

    With `trainer.accumulate_grad_batches`, an optimiser step is of several batches, and a run may be interrupted or
    validated between them. With several processes the gradients are those of the first: such a run goes on exactly
    from checkpoints at an optimiser step alone.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Tensor] = {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the gradients, if an optimiser step is still to come of them."""
        if _between_steps(trainer):
            named = pl_module.named_parameters()
            checkpoint[_KEY] = {name: p.grad.detach().clone() for name, p in named if p.grad is not None}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the gradients until training starts.

        Raises:
            DataError: They are not those of this model.
        """
        found = checkpoint.get(_KEY, {})
        shapes = {name: p.shape for name, p in pl_module.named_parameters()}
        wrong = not isinstance(found, Mapping) or any(
            not isinstance(value, Tensor) or value.shape != shapes.get(name) for name, value in found.items()
        )
        if wrong:
            raise DataError(
                "The checkpoint's gradients are not those of this model.",
                where=_KEY,
                expected="a gradient of the shape of each parameter",
                remedy="Use another checkpoint, or train again.",
            )
        self._restored = dict(found)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives the parameters their gradients back."""
        for name, parameter in pl_module.named_parameters():
            if name in self._restored:
                give_gradient(parameter, self._restored[name].to(parameter.device))
        self._restored = {}


def _between_steps(trainer: pl.Trainer) -> bool:
    """Whether batches were read since the last optimiser step; the last batch of an epoch always ends one."""
    every, loop = trainer.accumulate_grad_batches, trainer.fit_loop.epoch_loop
    read = loop.batch_progress.current.ready
    return every > 1 and read % every != 0 and not loop.batch_progress.is_last_batch
