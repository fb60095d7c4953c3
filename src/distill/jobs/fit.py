"""Trains one model: teacher, control or student."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch import nn

from distill.data.datamodule import Loading, RankingDataModule
from distill.data.format import Dataset
from distill.errors import ConfigError, DistillError
from distill.files import remove_leftovers_below
from distill.jobs.cold import tell_groups
from distill.jobs.fit_callbacks import fit_callbacks
from distill.jobs.fit_models import FitModels
from distill.jobs.fit_plan import HEAD_BIAS, FitPlan, FitResult, Signals
from distill.jobs.head_prior import start_at_prior
from distill.jobs.loggers import fit_loggers, log_folder
from distill.jobs.machine import AUTO, CAPTURE, NOT_OF_LIGHTNING
from distill.jobs.node import build, plain
from distill.jobs.parts import build_metrics, load_model, model_class
from distill.jobs.start_vectors import start_vectors
from distill.jobs.told import told_of_dataset
from distill.jobs.warm_adapter import warm_adapter
from distill.jobs.warm_optimizer import WarmOptimizer
from distill.jobs.warm_start import warm_start
from distill.losses.setting import LossSetting, task_infos
from distill.metrics import ScoredRows
from distill.models.prerankers.fitted import FittedPreRanker
from distill.ops.ranks import rank
from distill.places.mirror import shown_path
from distill.signals import SignalSource
from distill.training.callbacks import (
    FitProgress,
    Learning,
    PlainSigterm,
    PruneTrial,
    TrialPruned,
    ending_of,
)
from distill.training.capture.module import CapturedModule
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from distill.training.idle_hooks import QuietProfiler, callbacks_of, leave_out_idle_hooks
from distill.training.lr_schedule import RESTARTS, LRSchedule, cycle_ends
from distill.training.module import RankingModule, Recipe
from distill.training.optim import OptimizerFactory, count_weights
from distill.training.own_loop import take_plain_steps
from distill.training.second_head import SecondHead

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitJob:
    """A plan with everything around it.

    Attributes:
        cfg: Of the run.
        plan: What to train.
        dataset: On what.
        signals: What the teacher says; None without one, and while it learns with the student.
        folder: Of checkpoints.
        run_dir: Of the run.
        resume: Whether to go on from `last.ckpt`, if it is there.
        callbacks: Beside those of the config, behind them.
    """

    cfg: DictConfig
    plan: FitPlan
    dataset: Dataset
    signals: Signals | None
    folder: Path
    run_dir: Path
    resume: bool
    callbacks: tuple[pl.Callback, ...] = ()

    @property
    def _models(self) -> FitModels:
        return FitModels(self.cfg, self.plan, self.dataset, self.signals)

    def run(self) -> FitResult:
        """Trains, and returns the best checkpoint.

        Raises:
            TrialPruned: It was the fit of a trial that the study gave up.
        """
        if rank() == 0:
            remove_leftovers_below(self.folder)  # of a process that was killed while it wrote a checkpoint
        data = self.data()
        module = self.module(data)
        last = self.folder / "last.ckpt"
        resumed = self.resume and last.exists()
        callbacks = [
            *self._start(module, resumed),
            *fit_callbacks(self.cfg, self.plan.role, self.folder, log_folder(self.run_dir), self._cycles(data)),
            self._models.encodings(),
            *self.callbacks,
        ]
        trainer = self._trainer(callbacks, fit_loggers(self.cfg, self.plan.role, self.run_dir))
        leave_out_idle_hooks(trainer, module)
        take_plain_steps(trainer)
        if isinstance(module.model, FittedPreRanker):
            return self._fit_in_one_pass(module, module.model, data, trainer)
        start = time.perf_counter()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=last if resumed else None)
        except DistillError:
            self._say("%-9s ended with an error at step %d", self.plan.role, trainer.global_step)
            raise
        finally:
            module.release()
        if trainer.interrupted:
            raise KeyboardInterrupt
        for callback in callbacks:
            if isinstance(callback, PruneTrial) and callback.pruned:
                raise TrialPruned(callback.validations)
        best = self._best(trainer)
        alone = module.signals is None or not module.signals.learns
        alone &= not self.plan.decoupled
        parameters = count_weights(module.model if alone else load_model(best).model)
        return self._result(best, parameters, time.perf_counter() - start, trainer, self.plan.max_epochs)

    def _start(self, module: RankingModule, resumed: bool) -> list[pl.Callback]:
        """Lets the model, and a teacher that learns beside it, begin with vectors and the weights of other checkpoints;
        a resumed one has its weights already, but must know which rows are frozen. Returns what does the same to their
        optimisers, once there are any."""
        later: list[pl.Callback] = []
        teacher = None if self.plan.cotraining is None else self.plan.cotraining.teacher
        for plan, model in ((self.plan, module.model), (teacher, None if teacher is None else module.signals)):
            model = model.model if isinstance(model, SignalSource) else model
            if plan is None or model is None:
                continue
            frozen = {table: file for table, file in plan.vectors.items() if file.frozen}
            tuned = {table: file for table, file in plan.vectors.items() if not file.frozen}
            if not resumed:
                if plan.head_bias != HEAD_BIAS:
                    where = plan.key("model.head_bias")
                    self._say_lines(plan, start_at_prior(model, self.dataset, self._models.schema(plan), where))
                self._say_lines(plan, start_vectors(model, self.dataset, tuned, plan.key("model.vectors")))
                later += self._warm_start(plan, model, module.second_head if plan is self.plan else None)
                if plan is self.plan and plan.init_from is not None:
                    self._say_lines(plan, warm_adapter(module.loss, self.dataset.schema, plan.init_from))
            self._say_lines(plan, start_vectors(model, self.dataset, frozen, plan.key("model.vectors")))
        return later

    def _warm_start(self, plan: FitPlan, model: nn.Module, second_head: SecondHead | None) -> list[pl.Callback]:
        if plan.init_from is None:
            return []
        taken = warm_start(model, self.dataset, plan.init_from, plan.key("model.init_from"), second_head)
        self._say_lines(plan, taken.lines(plan.init_from))
        if not plan.init_optimizer:
            return []
        later = WarmOptimizer(model, taken, plan.init_from, plan.key("model.init_optimizer"))
        self._say_lines(plan, [later.says()])
        return [later]

    def _say_lines(self, plan: FitPlan, lines: Sequence[str]) -> None:
        for line in lines:
            self._say("The %s: %s", plan.role, line)

    def _fit_in_one_pass(
        self, module: RankingModule, model: FittedPreRanker, data: RankingDataModule, trainer: pl.Trainer
    ) -> FitResult:
        start = time.perf_counter()
        model.fit(module.projection(batch) for batch in data.loader("train"))
        trainer.validate(module, datamodule=data, verbose=False)
        best = self.folder / "best.ckpt"
        trainer.save_checkpoint(best)
        return self._result(best, count_weights(model), time.perf_counter() - start, trainer, 0)

    def _result(self, best: Path, parameters: int, seconds: float, trainer: pl.Trainer, epochs: int) -> FitResult:
        """Returns what came out of a fit of `epochs` planned epochs (0: in one pass), and says how it ended."""
        ending = ending_of(trainer, read_checkpoint(best, "meta"), str(self.cfg.callbacks.monitor), epochs)
        done = (trainer.current_epoch, trainer.global_step) if epochs else (1, 0)
        learning = next(callback.curve for callback in callbacks_of(trainer) if isinstance(callback, Learning))
        for line in ending.says(self.plan.role, *done, shown_path(best)).splitlines():
            self._say("%s", line)
        return FitResult(best, parameters, seconds, *done, ending, learning)

    def _say(self, text: str, *values: object) -> None:
        if rank() == 0:
            _log.info(text, *values)

    def test(self, checkpoint: Path) -> ScoredRows:
        """Scores the test split with a checkpoint and returns all rows, in the same order for every model."""
        data = self.data()
        module = self.module(data)
        state = dict(read_checkpoint(checkpoint))
        module.on_load_checkpoint(state)
        module.load_state_dict(state["state_dict"])
        bars = [FitProgress(self.plan.role)] if self.cfg.callbacks.progress_bar else []
        self._trainer([PlainSigterm(), *bars], []).test(module, datamodule=data, verbose=False)
        if module.test_rows is None:
            raise ConfigError("Nothing was tested.", where="trainer.limit_test_batches", expected="more than 0")
        return module.test_rows

    def planned_steps(self) -> int:
        """Counts the optimiser steps of the whole training; 0 of a model that is fitted in one pass."""
        in_one_pass = issubclass(model_class(self.plan.net, self.plan.key("model.net")), FittedPreRanker)
        return 0 if in_one_pass else self._total_steps(self.data())

    def _total_steps(self, data: RankingDataModule) -> int:
        steps = self._epoch_steps(data) * self.plan.max_epochs
        return min(steps, self.cfg.trainer.max_steps) if self.cfg.trainer.max_steps > 0 else steps

    def _epoch_steps(self, data: RankingDataModule) -> int:
        """Counts the optimiser steps of an epoch, of one or several batches each; the last may be of fewer."""
        return math.ceil(data.steps_per_epoch() / int(self.cfg.trainer.accumulate_grad_batches))

    def _cycles(self, data: RankingDataModule) -> Sequence[int] | None:
        """After how many epochs the cycles of the learning rate end; None without any."""
        if self.plan.scheduler["shape"] != RESTARTS:
            return None
        return cycle_ends(max(1, self._total_steps(data)), max(1, self._epoch_steps(data)))

    def data(self) -> RankingDataModule:
        """Puts together what is read."""
        return RankingDataModule(
            root=self.dataset.root,
            loading=Loading(**plain(self.cfg.data.loader)),
            view=self._models.view,
            signals=None if self.signals is None else self._reader_signals(self.signals.reader),
            hidden=self.plan.teacher_vectors,
            seed=self.cfg.seed,
        )

    def _reader_signals(self, reader: str | None) -> dict[str, str | None]:
        """Every split is measured against the teacher; training reads its signals only if the loss wants them."""
        return {"train": reader if self.plan.taught else None, "val": reader, "test": reader}

    def module(self, data: RankingDataModule) -> RankingModule:
        """Puts together what is trained on the data."""
        schema, total_steps = data.schema, self._total_steps(data)
        models = self._models
        model, source, second_head = models.build(total_steps)
        tell_groups((model, source), self.dataset)
        loss, sampling = self.plan.build_loss(), self.plan.build_sampling()
        taught = schema.task_names if source is None or source.tasks is None else source.tasks
        setting = LossSetting(
            tasks=task_infos(schema, taught),
            has_signals=source is not None,
            total_steps=total_steps,
            where=self.plan.key("loss"),
            student_vectors=cache(lambda: models.student_vectors(model)),
            teacher_vectors=cache(lambda: models.teacher_vectors(source)),
        )
        setting = told_of_dataset(setting, lambda: self.dataset, schema, models.schema(self.plan))
        loss.setup(setting)
        sampling.setup(setting)
        recipe = Recipe(
            loss=loss,
            sampling=sampling,
            optimizer=build(self.plan.optimizer, self.plan.key("optimizer"), OptimizerFactory),
            schedule=build(self.plan.scheduler, self.plan.key("scheduler"), LRSchedule),
            total_steps=total_steps,
            epoch_steps=self._epoch_steps(data),
        )
        kind = CapturedModule if self.cfg.trainer.get(CAPTURE) == AUTO else RankingModule
        return kind(
            model=model,
            recipe=recipe,
            schema=schema,
            metrics=build_metrics(self.cfg.metrics, self.dataset),
            signals=source,
            card=models.card(self.plan),
            serving=self.plan.serving,
            second_head=second_head,
        )

    def _trainer(self, callbacks: list[pl.Callback], loggers: list[Logger]) -> pl.Trainer:
        settings = {name: value for name, value in plain(self.cfg.trainer).items() if name not in NOT_OF_LIGHTNING}
        quiet = {} if settings.get("profiler") is not None else {"profiler": QuietProfiler()}
        trainer: pl.Trainer = build(
            {name: value for name, value in settings.items() if name not in quiet},
            "trainer",
            pl.Trainer,
            **quiet,
            max_epochs=self.plan.max_epochs,
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            enable_model_summary=False,
            enable_progress_bar=bool(self.cfg.callbacks.progress_bar),
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            default_root_dir=self.folder,
        )
        return trainer

    def _best(self, trainer: pl.Trainer) -> Path:
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best:
            return Path(best)
        trainer.save_checkpoint(self.folder / "last.ckpt")  # training ended before the first validation
        return self.folder / "last.ckpt"
