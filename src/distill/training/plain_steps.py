"""Steps of training behind which nothing is logged, saved or validated, without the trainer's generality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from distill.data.datamodule import RankingDataModule
from distill.training.idle_hooks import QuietProfiler, callbacks_of, gives
from distill.training.module import RankingModule

_START, _AFTER_BACKWARD, _END = "on_train_batch_start", "on_after_backward", "on_train_batch_end"
_CALLED = (_START, _AFTER_BACKWARD, _END)
_NOT_CALLED = ("on_before_zero_grad", "on_before_backward", "on_before_optimizer_step")
_OF_MODULE = (
    _START,
    _END,
    _AFTER_BACKWARD,
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_batch_transfer",
    "backward",
    "lr_scheduler_step",
    "configure_gradient_clipping",
    "optimizer_step",
    "optimizer_zero_grad",
)
_IDLE: tuple[type[pl.Callback], ...] = (ModelCheckpoint, LearningRateMonitor)
_Hook = Callable[..., object]


class PlainSteps(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, which takes plain steps itself.

    A step is plain if nothing is logged, saved or validated behind it, it is not the last of its epoch or of the
    training, and a run is not just resumed. In such a step Lightning asks every callback, the module, the strategy and
    the profiler, and keeps books of what is logged, a hundred calls to no effect. Here the same things happen in the
    same order: the batch is made ready and sent, the loss, the gradients, the hooks that do something, the update, the
    schedule of the learning rate, and the counts that checkpoints hold. All other steps are Lightning's own. So are all
    steps if there is something that this loop does not know: a profiler, other strategies, precisions and schedules,
    gradients that are added up or clipped by Lightning, or callbacks that act in a step and do not say how.

    A callback says so by `plain_steps = "called"` beside its hooks: they are called as always, but `log` has no effect
    in them.
    """

    @classmethod
    def put_into(cls, trainer: pl.Trainer) -> None:
        """Takes the place of a trainer's loop, before it trains."""
        loop = cls(trainer)
        loop.__dict__.update(trainer.fit_loop.epoch_loop.__dict__)
        trainer.fit_loop.epoch_loop = loop

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Takes the plain steps that come next, or else one of Lightning's."""
        count = 0 if self.restarting or not self.is_understood else self._ahead()
        if count <= 0 or isinstance(data_fetcher, _DataLoaderIterDataFetcher):
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        for place in range(count):
            if place:  # what Lightning does between two steps
                self._batches_that_stepped += 1
            self._take(data_fetcher)
            if self.trainer.should_stop:
                break

    def _ahead(self) -> int:
        """Counts the plain steps that come next."""
        trainer, done, steps = self.trainer, self.batch_progress.current.ready, self.global_step
        ends = [trainer.num_training_batches - done]
        if trainer.max_steps > 0:
            ends.append(trainer.max_steps - steps)
        if self._should_check_val_epoch() and trainer.val_check_batch != float("inf"):
            ends.append(_to_next(int(trainer.val_check_batch or 1), done))
        for every, count in self._events:
            ends += [_to_next(every, steps if count is None else count(self))]
        return int(min(ends)) - 1

    @cached_property
    def _events(self) -> list[tuple[int, Callable[[PlainSteps], int] | None]]:
        """After how many steps something is logged or saved again, and how these are counted: as global steps if
        None."""
        trainer = self.trainer
        found: list[tuple[int, Callable[[PlainSteps], int] | None]] = []
        if trainer.log_every_n_steps > 0:
            found += [
                (trainer.log_every_n_steps, None),
                (trainer.log_every_n_steps, lambda loop: loop._batches_that_stepped),
            ]
        saves = [c._every_n_train_steps for c in callbacks_of(trainer) if isinstance(c, ModelCheckpoint)]
        return found + [(every, None) for every in saves if every > 0]

    @cached_property
    def is_understood(self) -> bool:
        """Whether plain steps are taken at all."""
        return all(self._conditions())

    def _conditions(self) -> Iterator[bool]:
        trainer, module = self.trainer, self.trainer.lightning_module
        yield isinstance(module, RankingModule)
        yield all(_way(module, h) is not None for h in _OF_MODULE if gives(module, pl.LightningModule, h))
        yield isinstance(getattr(trainer, "datamodule", None), RankingDataModule)
        yield type(trainer.profiler) in (PassThroughProfiler, QuietProfiler)
        yield type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)
        precision = trainer.precision_plugin
        yield type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None)
        yield getattr(trainer.strategy, "_model_averager", None) is None
        yield trainer.accumulate_grad_batches == 1 and trainer.gradient_clip_val is None
        yield not trainer._detect_anomaly and trainer.num_training_batches != float("inf")
        yield trainer._val_check_time_interval is None and trainer.check_val_every_n_epoch is not None
        yield len(trainer.optimizers) == 1 and len(trainer.lr_scheduler_configs) == 1
        yield all(
            config.interval == "step" and config.frequency == 1 and not config.reduce_on_plateau
            for config in trainer.lr_scheduler_configs
        )
        saving = (c for c in callbacks_of(trainer) if isinstance(c, ModelCheckpoint))
        yield all(callback._train_time_interval is None for callback in saving)
        acting = [
            (c, hook) for c in callbacks_of(trainer) for hook in (*_CALLED, *_NOT_CALLED) if gives(c, pl.Callback, hook)
        ]
        yield all(_way(callback, hook) is not None and hook in _CALLED for callback, hook in acting)

    @cached_property
    def _hooks(self) -> dict[str, list[_Hook]]:
        """Hooks that are called, by name, in the order of the callbacks."""
        of = {hook: [c for c in callbacks_of(self.trainer) if gives(c, pl.Callback, hook)] for hook in _CALLED}
        return {
            hook: [getattr(callback, hook) for callback in callbacks if _way(callback, hook) == "called"]
            for hook, callbacks in of.items()
        }

    def _take(self, data_fetcher: _DataFetcher) -> None:
        """Takes a step: see `_TrainingEpochLoop.advance`."""
        trainer, hooks, batches = self.trainer, self._hooks, self.batch_progress
        module = cast(RankingModule, trainer.lightning_module)
        data: Any = trainer.datamodule
        batch, _, _ = next(data_fetcher)
        place = self.batch_idx + 1
        batches.is_last_batch = data_fetcher.done
        batch = data.transfer_batch_to_device(module.on_before_batch_transfer(batch, 0), module.device, 0)
        batches.increment_ready()
        for hook in hooks[_START]:
            hook(trainer, module, batch, place)
        batches.increment_started()
        self._optimise(module, batch, place)
        batches.increment_processed()
        self.scheduler_progress.increment_ready()
        trainer.lr_scheduler_configs[0].scheduler.step()
        self.scheduler_progress.increment_completed()
        for hook in hooks[_END]:
            hook(trainer, module, {}, batch, place)
        batches.increment_completed()

    def _optimise(self, module: RankingModule, batch: Any, place: int) -> None:
        """Takes the step of a batch: see `_AutomaticOptimization`."""
        trainer, progress = self.trainer, self.automatic_optimization.optim_progress.optimizer
        optimizer = trainer.optimizers[0]
        progress.step.increment_ready()
        loss: Any = trainer.strategy.training_step(batch, place)
        progress.zero_grad.increment_ready()
        progress.zero_grad.increment_started()
        if not module.takes_whole_steps:
            optimizer.zero_grad()
        progress.zero_grad.increment_completed()
        if not module.takes_whole_steps:
            module.backward(loss)
        for hook in self._hooks[_AFTER_BACKWARD]:
            hook(trainer, module)
        if not module.takes_whole_steps:
            module.on_before_optimizer_step(optimizer)
            optimizer.step()
        progress.step.increment_completed()


def _way(of: object, hook: str) -> str | None:
    """Returns what the class that has a hook says of it; None if it says nothing."""
    owner = next(kind for kind in type(of).__mro__ if hook in vars(kind))
    return "idle" if owner in _IDLE else vars(owner).get("plain_steps")


def _to_next(every: int, count: int) -> int:
    return every - count % every
