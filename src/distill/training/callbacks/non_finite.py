"""A loss that is not finite stops the run before it reaches a weight, and leaves what is needed to look into it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.batch import TensorStruct
from distill.errors import DataError
from distill.features import ShardedTables
from distill.training.checkpoint_io import AtomicCheckpointIO
from distill.training.launch import any_rank
from distill.training.module import RankingModule


class StopOnNonFinite(pl.Callback):
    """Stops the run when the loss is not finite, naming the step and the term, and saves the step for `debug.replay`.

    The file holds plain data and tensors only: the batch as the model saw it, the teacher's signals, the weights and
    torch's random state before the step.

    Args:
        directory: Where the offending step is written.
        role: Which model is trained.
    """

    def __init__(self, directory: str, role: str) -> None:
        self.directory = Path(directory)
        self.role = role
        self._random: Tensor | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remembers the random state from which dropout is drawn."""
        self._random = torch.get_rng_state()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Checks the loss before it can reach a weight.

        Raises:
            DataError: The loss is not finite.
        """
        if not isinstance(pl_module, RankingModule) or pl_module.last_report is None:
            return
        bad_loss = not bool(torch.isfinite(loss))
        if any(isinstance(part, ShardedTables) for part in pl_module.modules()):
            bad_loss = any_rank(bad_loss, loss.device)  # the ranks collect the tables together
        if not bad_loss:
            return
        parts = {name: float(value) for name, value in pl_module.last_report.parts.items()}
        bad = [name for name, value in parts.items() if not math.isfinite(value)]
        path = self.directory / f"non_finite_step{trainer.global_step}_rank{trainer.global_rank}.pt"
        AtomicCheckpointIO().save_checkpoint(self._step(trainer, pl_module), path)
        raise DataError(
            "The loss is not finite.",
            where=f"step {trainer.global_step}, term {', '.join(bad) or 'the weighted sum, or another rank'}",
            found=", ".join(f"{name}={value}" for name, value in parts.items()),
            remedy=f"The step is saved in {path}; the same command with debug.replay={path} shows where it comes from.",
        )

    def _step(self, trainer: pl.Trainer, module: RankingModule) -> dict[str, Any]:
        report, state = module.last_report, module.standalone_state(module.state_dict())
        return {
            "state_dict": {k: v for k, v in state.items() if not k.startswith("signals.")},
            "role": self.role,
            "step": trainer.global_step,
            "total_steps": module.total_steps,
            "batch": None if module.last_batch is None else to_plain(module.projection(module.last_batch)),
            "signals": to_plain(module.last_signals),
            "random_state": self._random,
            "total": None if report is None else report.total,
            "parts": {} if report is None else dict(report.parts),
            "card": module.card,
        }


def to_plain(value: Any) -> Any:
    """Turns a batch or signals into nested dicts of tensors, which load with `weights_only`."""
    if isinstance(value, TensorStruct):
        return {name: to_plain(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    return value
