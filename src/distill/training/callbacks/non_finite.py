"""A loss or a gradient that is not finite stops the run before it reaches a weight, and leaves what is needed to look
into it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.batch import LossReport
from distill.errors import DataError
from distill.losses.blame import non_finite_gradients
from distill.ops.ranks import any_rank
from distill.training.checkpoint_io import AtomicCheckpointIO
from distill.training.finite import StepGradients, all_finite, non_finite
from distill.training.module import RankingModule
from distill.training.saved_step import to_plain

_SHOWN = 3


class StopOnNonFinite(pl.Callback):
    """Stops the run when the loss or a gradient is not finite, naming the step and the term, and saves the step for
    `scripts/replay.py`.

    Gradients are those of dense parameters and of the touched rows of tables; they are looked at in one pass.

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
        self._gradients: StepGradients | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remembers the random state from which dropout is drawn."""
        self._random = torch.get_rng_state()

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks the loss and the gradients before they can reach a weight.

        With a scaler of gradients (float16), which takes overflow for granted and leaves such steps out, the loss alone
        is checked.

        Raises:
            DataError: One of them is not finite.
        """
        if not isinstance(pl_module, RankingModule) or pl_module.last_report is None:
            return
        if self._gradients is None:
            self._gradients = StepGradients(pl_module)
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        gradients = {} if scaled else self._gradients.values()
        is_bad = not all_finite([pl_module.last_report.total, *gradients.values()])
        if self._gradients.are_shared:
            is_bad = any_rank(is_bad, pl_module.last_report.total.device)  # the ranks collect the tables together
        if not is_bad:
            return
        path = self.directory / f"non_finite_step{trainer.global_step}_rank{trainer.global_rank}.pt"
        AtomicCheckpointIO().save_checkpoint(self._step(trainer, pl_module), path)
        remedy = (
            f"The step is saved in {path}; distill replay (python scripts/replay.py) with the same arguments and "
            f"step={path} shows where it comes from."
        )
        if not bool(pl_module.last_report.total.isfinite()):
            raise _bad_loss(trainer.global_step, pl_module.last_report, remedy)
        bad = non_finite(gradients)
        raise DataError(
            "A gradient is not finite, though the loss is.",
            where=f"step {trainer.global_step}, {self._origin(pl_module) if bad else 'another rank'}",
            expected="finite gradients",
            found="; ".join(f"{name}: {count} values are not finite" for name, count in [*bad.items()][:_SHOWN])
            + (f"; and {len(bad) - _SHOWN} others" if len(bad) > _SHOWN else "")
            or "gradients of this rank are finite",
            remedy=remedy,
        )

    def _origin(self, module: RankingModule) -> str:
        """Runs the step again, as it was drawn, and says which terms send gradients that are not finite."""
        if module.last_batch is None or (self._gradients is not None and self._gradients.are_shared):
            return "term unknown: replaying tells"  # looking rows up again would want all ranks
        now = torch.get_rng_state()
        if self._random is not None:
            torch.set_rng_state(self._random)
        try:
            inputs = module.loss_inputs(replace(module.last_batch, signals=module.last_signals))
            terms = non_finite_gradients(module.loss, inputs, list(module.model.parameters()))
        finally:
            torch.set_rng_state(now)
        return f"term {', '.join(terms)}" if terms else "on the way back through the model: each term's own is finite"

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


def _bad_loss(step: int, report: LossReport, remedy: str) -> DataError:
    parts = {name: float(value) for name, value in report.parts.items()}
    bad = [name for name, value in parts.items() if not math.isfinite(value)]
    return DataError(
        "The loss is not finite.",
        where=f"step {step}, term {', '.join(bad) or 'the weighted sum, or another rank'}",
        found=", ".join(f"{name}={value}" for name, value in parts.items()),
        remedy=remedy,
    )
