"""A moving average of the weights: what is validated, kept as the best, and served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.errors import DataError

TRAINING_WEIGHTS = "distill_training_weights"
"""Key of a checkpoint: the weights that training goes on with, by name; the state of the model has their average."""


class WeightAverage(pl.Callback):
    """Averages the model's weights over optimiser steps, ā ← d ā + (1 − d) w with d = min(decay, (1 + n) / (10 + n)).

    n counts the updates: the first weights, which know nothing, are soon forgotten. Validation measures the average,
    and checkpoints have it where every command looks for a model, with the weights that training goes on with beside
    it; so a resumed run is the run that was interrupted. All rows of tables are averaged at each step, touched or not.
    What learns beside the model, such as a teacher or the projector of a loss term, is not averaged.

    Lightning's own callback averages the whole module, a frozen teacher too, and writes it past what this package
    leaves out of a checkpoint.

    Args:
        decay: Largest d, in 0..1.

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; the form with a
    decay: Tarvainen and Valpola, "Mean teachers are better role models", 2017, arXiv:1703.01780, eq. 2.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = self._step = 0
        self._averages: dict[str, Tensor] = {}
        self._training: Mapping[str, Tensor] | None = None

    @torch.no_grad()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins with the weights there are; a resumed run has loaded the average, and takes its own weights back."""
        weights = weights_of(pl_module)
        self._averages = {name: weight.detach().clone() for name, weight in weights.items()}
        for name, value in (self._training or {}).items():
            weights[name].copy_(value)
        self._training, self._step = None, trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the weights of a new optimiser step into the average."""
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._averages.values()), list(weights_of(pl_module).values()), 1 - decay)
        self._step = trainer.global_step
        self.updates += 1

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average in place of the weights."""
        if self._swap(pl_module):
            model = model_of(pl_module)
            model.train()
            model.eval()  # rows that follow from others as a model goes to evaluation are now those of the average

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the weights back."""
        self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, module: pl.LightningModule) -> bool:
        for name, weight in weights_of(module).items() if self._averages else ():
            kept = weight.detach().clone()
            weight.copy_(self._averages[name])
            self._averages[name].copy_(kept)
        return bool(self._averages)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes the average as the model, and the weights of training beside it."""
        weights, state = weights_of(pl_module), dict(checkpoint["state_dict"])
        of = {id(weight): name for name, weight in weights.items()}
        for name, value in model_of(pl_module).state_dict(keep_vars=True).items():
            if id(value) in of:
                state[f"model.{name}"] = self._averages[of[id(value)]]
        checkpoint["state_dict"] = state
        checkpoint[TRAINING_WEIGHTS] = {name: weight.detach() for name, weight in weights.items()}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the weights of training until it starts.

        Raises:
            DataError: The checkpoint has none, or those of another model.
        """
        found, weights = checkpoint.get(TRAINING_WEIGHTS), weights_of(pl_module)
        shapes = {name: weight.shape for name, weight in weights.items()}
        if not isinstance(found, Mapping) or {n: getattr(v, "shape", None) for n, v in found.items()} != shapes:
            raise DataError(
                "The checkpoint does not hold the weights that this training would go on with.",
                where=TRAINING_WEIGHTS,
                expected="those of a run with callbacks.weight_average",
                remedy="Set callbacks.weight_average=null, or begin anew.",
            )
        self._training = found

    def state_dict(self) -> dict[str, Any]:
        """Returns how many steps are in the average."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undoes `state_dict`."""
        self.updates = int(state_dict["updates"])


def model_of(module: pl.LightningModule) -> nn.Module:
    """Returns what is averaged of a module: its `model`."""
    model: nn.Module = module.model  # type: ignore[assignment]
    return model


def weights_of(module: pl.LightningModule) -> dict[str, Tensor]:
    """Returns the parameters and floating-point buffers of a module's model as its state names them, each once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, value in model_of(module).state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            found.setdefault(id(value), (name, value))
    return dict(found.values())
