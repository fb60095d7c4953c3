"""A loss or a gradient that is not finite stops the run before it reaches a weight, and leaves what is needed to look
into it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.errors import DataError
from distill.losses.blame import non_finite_gradients
from distill.ops.ranks import any_rank
from distill.ops.waiting import can_look
from distill.training.checkpoint_io import AtomicCheckpointIO
from distill.training.combined import CombinedOptimizer
from distill.training.finite import StepGradients, all_finite, non_finite
from distill.training.kept_steps import Greatest, KeptStep, KeptSteps
from distill.training.module import RankingModule
from distill.training.saved_step import to_plain

_SHOWN = 3
_MOST_KEPT = 50


class StopOnNonFinite(pl.Callback):
    """Stops the run when the loss or a gradient is not finite, naming the step and the term, and saves the step for
    `scripts/replay.py`.

    Gradients are those of dense parameters and of the touched rows of tables; they are looked at in one pass.

    On a CPU every step is looked at. Elsewhere a look waits for the device, so that it is taken at steps that are
    logged, every 50 steps at least, and before anything is saved or validated. Until then, what a report of each step
    needs is kept, and from the first one that is not finite on the optimiser changes nothing: the weights stay those
    before it, though batch norms go on with their running statistics.

    The file holds plain data and tensors only: the batch as the model saw it, the teacher's signals, the weights and
    torch's random state before the step.

    Args:
        directory: Where the offending step is written.
        role: Which model is trained.
        every: Steps from look to look, where they wait; 0 for the most.

    Attributes:
        kept: Steps that are to be looked at.
    """

    plain_steps: ClassVar[str] = "called"

    def __init__(self, directory: str, role: str, every: int = 0) -> None:
        self.directory = Path(directory)
        self.role = role
        self.every = min(every or _MOST_KEPT, _MOST_KEPT)
        self._random: Tensor | None = None
        self._gradients: StepGradients | None = None
        self.kept = KeptSteps()

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
        report, greatest = pl_module.last_report, pl_module.last_greatest
        step = KeptStep(trainer.global_step, report, pl_module.last_batch, pl_module.last_signals, self._random)
        if greatest is None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            gradients = {} if scaler is not None else self.gradients_of(pl_module).values()
            if can_look(report.total) or self.gradients_of(pl_module).are_shared:
                self._check(trainer, pl_module, step, gradients)
                return
            greatest = Greatest.of(report.total, gradients)
            self._withhold(trainer, greatest)
        self.kept.keep(step, greatest)
        if (trainer.global_step + 1) % self.every == 0:
            self._look(trainer, pl_module)

    def gradients_of(self, module: RankingModule) -> StepGradients:
        """Returns the gradients of a step of the module that is trained."""
        if self._gradients is None:
            self._gradients = StepGradients(module)
        return self._gradients

    def _withhold(self, trainer: pl.Trainer, greatest: Greatest) -> None:
        flag = self.kept.raised(greatest.flag)
        for optimizer in trainer.optimizers:
            if isinstance(optimizer, CombinedOptimizer):
                optimizer.withhold(flag)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the steps that were not looked at; see `on_after_backward`."""
        self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the steps that were not looked at; see `on_after_backward`."""
        self._look(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Looks at the steps that were not looked at; see `on_after_backward`."""
        self._look(trainer, pl_module)

    def _check(self, trainer: pl.Trainer, module: RankingModule, step: KeptStep, gradients: dict[str, Tensor]) -> None:
        is_bad = not all_finite([step.report.total, *gradients.values()])
        if self._gradients is not None and self._gradients.are_shared:
            is_bad = any_rank(is_bad, step.report.total.device)  # the ranks collect the tables together
        if is_bad:
            self._stop(trainer, module, step, non_finite(gradients))

    def _look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if isinstance(module, RankingModule) and (found := self.kept.look()) is not None:
            step, names = found
            self._stop(trainer, module, step, dict.fromkeys(names, "some"))

    def _stop(self, trainer: pl.Trainer, module: RankingModule, step: KeptStep, bad: dict[str, str]) -> NoReturn:
        path = self.directory / f"non_finite_step{step.number}_rank{trainer.global_rank}.pt"
        AtomicCheckpointIO().save_checkpoint(self._saved(module, step), path)
        remedy = (
            f"The step is saved in {path}; distill replay (python scripts/replay.py) with the same arguments and "
            f"step={path} shows where it comes from."
        )
        if not bool(step.report.total.isfinite()):
            raise _bad_loss(step, remedy)
        raise DataError(
            "A gradient is not finite, though the loss is.",
            where=f"step {step.number}, {self._origin(module, step) if bad else 'another rank'}",
            expected="finite gradients",
            found="; ".join(f"{name}: {count} values are not finite" for name, count in [*bad.items()][:_SHOWN])
            + (f"; and {len(bad) - _SHOWN} others" if len(bad) > _SHOWN else "")
            or "gradients of this rank are finite",
            remedy=remedy,
        )

    def _origin(self, module: RankingModule, step: KeptStep) -> str:
        """Runs the step again, as it was drawn, and says which terms send gradients that are not finite."""
        if step.batch is None or (self._gradients is not None and self._gradients.are_shared):
            return "term unknown: replaying tells"  # looking rows up again would want all ranks
        now = torch.get_rng_state()
        if step.random_state is not None:
            torch.set_rng_state(step.random_state)
        try:
            inputs = module.loss_inputs(replace(step.batch, signals=step.signals), step.number)
            terms = non_finite_gradients(module.loss, inputs, list(module.model.parameters()))
        finally:
            torch.set_rng_state(now)
        return f"term {', '.join(terms)}" if terms else "on the way back through the model: each term's own is finite"

    def _saved(self, module: RankingModule, step: KeptStep) -> dict[str, Any]:
        state = module.standalone_state(module.state_dict())
        return {
            "state_dict": {k: v for k, v in state.items() if not k.startswith("signals.")},
            "role": self.role,
            "step": step.number,
            "total_steps": module.total_steps,
            "batch": None if step.batch is None else to_plain(module.projection(step.batch)),
            "signals": to_plain(step.signals),
            "random_state": step.random_state,
            "total": step.report.total,
            "parts": dict(step.report.parts),
            "card": module.card,
        }


def _bad_loss(step: KeptStep, remedy: str) -> DataError:
    parts = {name: float(value) for name, value in step.report.parts.items()}
    bad = [name for name, value in parts.items() if not math.isfinite(value)]
    return DataError(
        "The loss is not finite.",
        where=f"step {step.number}, term {', '.join(bad) or 'the weighted sum, or another rank'}",
        found=", ".join(f"{name}={value}" for name, value in parts.items()),
        remedy=remedy,
    )
