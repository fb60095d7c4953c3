"""The training module whose steps are captured where they can be."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.batch import Batch
from distill.data.stream import PlacedBatch
from distill.training.callbacks import StopOnNonFinite
from distill.training.capture.padding import padded
from distill.training.capture.reasons import why_not_captured
from distill.training.capture.recorder import Recorder, recorder_of
from distill.training.capture.shared_shapes import padded_alike
from distill.training.capture.steps import StaticSteps
from distill.training.idle_hooks import callbacks_of
from distill.training.module import RankingModule

_log = logging.getLogger(__name__)


class CapturedModule(RankingModule):
    """A training module that says once why its steps are not captured, or captures them; see `StaticSteps`.

    Where they are, a step of the trainer is one call: what it would call beside (backward, the update) has happened by
    then. Batches are padded before they are sent to the device. DDP, which has made the ranks start from the same
    weights, takes no part: it would exchange gradients beside the step, which does so itself.
    """

    plain_steps: ClassVar[str] = "called"  # what is overridden below does nothing where steps are captured

    _recorder: Recorder | None = None
    _steps: StaticSteps | None = None

    @property
    def takes_whole_steps(self) -> bool:
        """Whether steps are captured."""
        return self._recorder is not None

    def on_train_start(self) -> None:
        """Looks whether steps can be captured."""
        super().on_train_start()
        recorder = recorder_of(self.device)
        why = why_not_captured(self, self.trainer, recorder)
        self._recorder, self._steps = (recorder if why is None else None), None
        if why is None:
            self.trainer.strategy.model = self
            gc.collect()  # of DDP, which is in cycles and holds on to the parameters
        if self.trainer.is_global_zero:
            _log.info("Training steps are %s.", "captured" if why is None else f"not captured: {why}")

    def release(self) -> None:
        """Gives the memory of recorded steps back; NCCL waits until there is none, before it ends."""
        super().release()
        if self._steps is not None:
            self._steps.forget()
        self._recorder = self._steps = None

    @property
    def packs_ahead(self) -> bool:
        """Whether a batch is padded on the thread that makes it ready: not to the sizes of other ranks."""
        return self.trainer.world_size == 1

    def ready_on_host(self, batch: Batch | PlacedBatch, step: int) -> Batch | PlacedBatch:
        """Makes a batch ready, and pads it."""
        ready = super().ready_on_host(batch, step)
        pads = self._recorder is not None and self.packs_ahead
        return padded(ready) if pads and isinstance(ready, Batch) and ready.is_ready else ready

    def on_before_batch_transfer(self, batch: Batch | PlacedBatch, dataloader_idx: int) -> Batch | PlacedBatch:
        """Makes a batch ready, if it is not yet, and pads it as other ranks pad theirs of the same step."""
        found = super().on_before_batch_transfer(batch, dataloader_idx)
        pads = self._recorder is not None and self.trainer.training
        return padded_alike(found, self.hosts) if pads and isinstance(found, Batch) and found.is_ready else found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Takes a whole step and returns its loss, without gradient."""
        if self._recorder is None:
            return super().training_step(batch, batch_idx)
        if self._steps is None:
            self._steps = self._static(self._recorder)
        ready, _ = self.made_ready(batch)
        if not batch.is_ready or self.packs_ahead:  # else it has been padded, if that was possible
            ready = padded_alike(ready, self.hosts)
        report, greatest = self._steps.take(ready, self.global_step)
        self.remember(ready, report, greatest)
        return report.total

    def _static(self, recorder: Recorder) -> StaticSteps:
        """Made when the optimiser has the states with which training begins."""
        watches = (callback for callback in callbacks_of(self.trainer) if isinstance(callback, StopOnNonFinite))
        optimizer: Any = self.trainer.optimizers[0]
        return StaticSteps(self, optimizer, recorder, next(watches, None))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Has happened."""
        if self._recorder is None:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Has happened."""
        if self._recorder is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Takes the step, the update included."""
        if self._recorder is None or optimizer_closure is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()
