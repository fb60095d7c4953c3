"""A moving average of the weights: what is validated, kept as the best, and served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.errors import DataError
from distill.ops.rounding import computed_type

TRAINING_WEIGHTS = "distill_training_weights"
"""Key of a checkpoint: the weights that training goes on with, by name; the state of the model has their average."""
EXACT_AVERAGES = "distill_exact_averages"
"""Key of a checkpoint: averages in float32 of what the model has in bfloat16, by name; their averages in its state are
rounded to the nearest."""


class WeightAverage(pl.Callback):
    """Averages the model's weights over optimiser steps, ā ← d ā + (1 − d) w with d = min(decay, (1 + n) / (10 + n)).

    n counts the updates: the first weights, which know nothing, are soon forgotten. Validation measures the average,
    and checkpoints have it where every command looks for a model, with the weights that training goes on with beside
    it; so a resumed run is the run that was interrupted. All rows of tables are averaged at each step, touched or not.
    What learns beside the model, such as a teacher or the projector of a loss term, is not averaged. The average of a
    table in bfloat16 is float32; what is validated and served is that, rounded to the nearest.

    Lightning's own callback averages the whole module, a frozen teacher too, and writes it past what this package
    leaves out of a checkpoint.

    Args:
        decay: Largest d, in 0..1.

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; the form with a
    decay: Tarvainen and Valpola, "Mean teachers are better role models", 2017, arXiv:1703.01780, eq. 2.
    """

    plain_steps: ClassVar[str] = "called"

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = self._step = 0
        self._averages: dict[str, Tensor] = {}
        self._aside: dict[str, Tensor] = {}
        self._training: Mapping[str, Tensor] | None = None
        self._exact: Mapping[str, Tensor] = {}

    @torch.no_grad()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins with the weights there are; a resumed run has loaded the average, and takes its own weights back."""
        weights = weights_of(pl_module)
        self._averages = {
            name: self._exact.get(name, weight).detach().to(weight.device, computed_type(weight.dtype), copy=True)
            for name, weight in weights.items()
        }
        for name, value in (self._training or {}).items():
            weights[name].copy_(value)
        self._training, self._exact, self._step = None, {}, trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the weights of a new optimiser step into the average."""
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [weight.to(computed_type(weight.dtype)) for weight in weights_of(pl_module).values()]
        torch._foreach_lerp_(list(self._averages.values()), weights, 1 - decay)
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
            kept, average = weight.detach().clone(), self._averages[name]
            if average.dtype is weight.dtype:
                weight.copy_(average)
                average.copy_(kept)
            elif name in self._aside:
                weight.copy_(self._aside.pop(name))
            else:  # the weight would not hold all of the average
                self._aside[name] = kept
                weight.copy_(average)
        return bool(self._averages)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes the average as the model, and the weights of training beside it."""
        weights, state = weights_of(pl_module), dict(checkpoint["state_dict"])
        of = {id(weight): name for name, weight in weights.items()}
        for name, value in model_of(pl_module).state_dict(keep_vars=True).items():
            if id(value) in of:
                state[f"model.{name}"] = self._averages[of[id(value)]].to(value.dtype)
        checkpoint["state_dict"] = state
        exact = {n: average for n, average in self._averages.items() if average.dtype is not weights[n].dtype}
        if exact:
            checkpoint[EXACT_AVERAGES] = exact
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
                "The checkpoint lacks the weights that this training would continue with.",
                where=TRAINING_WEIGHTS,
                expected="those of a run with callbacks.weight_average",
                remedy="Set callbacks.weight_average=null, or start a new training.",
            )
        self._training, self._exact = found, _exact(checkpoint.get(EXACT_AVERAGES, {}), weights)

    def state_dict(self) -> dict[str, Any]:
        """Returns how many steps are in the average."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undoes `state_dict`."""
        self.updates = int(state_dict["updates"])


def _exact(found: Any, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns averages that the model has rounded, of all weights that are stored in bfloat16.

    Raises:
        DataError: There are none, or those of another model.
    """
    shapes = {n: weight.shape for n, weight in weights.items() if weight.dtype is not computed_type(weight.dtype)}
    if not isinstance(found, Mapping) or {n: getattr(v, "shape", None) for n, v in found.items()} != shapes:
        raise DataError(
            "The checkpoint does not hold the exact averages of weights in bfloat16.",
            where=EXACT_AVERAGES,
            expected="those of a run with callbacks.weight_average and the same embedding.dtype",
            remedy="Set callbacks.weight_average=null, or start a new training.",
        )
    return found


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
