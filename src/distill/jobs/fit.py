"""Trains one model: teacher, control or student."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn

from distill.data.catalogue import load_catalogue
from distill.data.datamodule import RankingDataModule
from distill.data.files import remove_leftovers_below
from distill.data.format import Dataset
from distill.data.items import item_fields
from distill.data.missing import missing_row
from distill.data.stream.signals import DATASET as SIGNALS_IN_DATASET
from distill.data.stream.signals import open_sidecar
from distill.errors import ConfigError, DistillError
from distill.features import EmbeddingTables, TableFactory, TableSharing, table_factory
from distill.jobs.fit_callbacks import fit_callbacks
from distill.jobs.fit_plan import Cotraining, FitPlan, FitResult, Signals
from distill.jobs.parts import (
    build,
    build_loss,
    build_metrics,
    build_model,
    hidden_vectors,
    load_model,
    model_card,
    model_class,
    plain,
)
from distill.metrics import ScoredRows
from distill.models.cost.random_batch import random_batch
from distill.models.prerankers.fitted import FittedPreRanker
from distill.sampling import Sampling
from distill.schema import Schema, Side
from distill.signals import SignalSource
from distill.training.callbacks import NamedProgressBar, PlainSigterm, PruneTrial, TrialPruned, ending_of
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from distill.training.compiled import compile_dense
from distill.training.cotraining import CotrainedTeacher
from distill.training.launch import rank
from distill.training.lr_schedule import LRSchedule
from distill.training.module import RankingModule
from distill.training.optim import OptimizerFactory, count_weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitJob:
    """A plan with everything around it: data, teacher, folders."""

    cfg: DictConfig
    plan: FitPlan
    dataset: Dataset
    signals: Signals | None
    folder: Path
    log_dir: Path
    resume: bool

    def run(self) -> FitResult:
        """Trains, and returns the best checkpoint.

        Raises:
            TrialPruned: It was the fit of a trial that the study gave up.
        """
        if rank() == 0:
            remove_leftovers_below(self.folder)  # of a process that was killed while it wrote a checkpoint
        data = self._data()
        model, teacher = self._models()
        module = self._module(data, model, teacher)
        callbacks = self._callbacks()
        trainer = self._trainer(callbacks, self._logger())
        if isinstance(module.model, FittedPreRanker):
            return self._fit_in_one_pass(module, module.model, data, trainer)
        last = self.folder / "last.ckpt"
        start = time.perf_counter()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=last if self.resume and last.exists() else None)
        except DistillError:
            self._say("The %s's training ended with an error, at step %d.", self.plan.role, trainer.global_step)
            raise
        if trainer.interrupted:
            raise KeyboardInterrupt
        for callback in callbacks:
            if isinstance(callback, PruneTrial) and callback.pruned:
                raise TrialPruned(callback.validations)
        best = self._best(trainer)
        parameters = count_weights(module.model if teacher is None else load_model(best).model)
        return self._result(best, parameters, time.perf_counter() - start, trainer, self.plan.max_epochs)

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
        self._say("%s", ending.says(self.plan.role, *done))
        return FitResult(best, parameters, seconds, *done, ending)

    def _say(self, text: str, *values: object) -> None:
        if rank() == 0:
            _log.info(text, *values)

    def test(self, checkpoint: Path) -> ScoredRows:
        """Scores the test split with a checkpoint and returns all rows, in the same order for every model."""
        data = self._data()
        module = self._module(data, self._model(self._tables()), self._source())
        state = {"state_dict": dict(read_checkpoint(checkpoint)["state_dict"])}
        module.on_load_checkpoint(state)
        module.load_state_dict(state["state_dict"])
        bars = [NamedProgressBar(self.plan.role)] if self.cfg.callbacks.progress_bar else []
        self._trainer([PlainSigterm(), *bars], False).test(module, datamodule=data, verbose=False)
        if module.test_rows is None:
            raise ConfigError("Nothing was tested.", where="trainer.limit_test_batches", expected="more than 0")
        return module.test_rows

    def _tables(self) -> TableFactory:
        return table_factory(self.cfg.embedding.sharding)

    def _model(self, tables: TableFactory) -> nn.Module:
        return self._compiled(build_model(self.plan.net, self._model_schema(), self.plan.key("model.net"), tables))

    def _models(self) -> tuple[nn.Module, SignalSource | None]:
        """Builds the model, and the teacher that it listens to."""
        cotraining = self.plan.cotraining
        if cotraining is None:
            return self._model(self._tables()), self._source()
        if self.cfg.embedding.sharding is not None:
            raise ConfigError(
                "A cotrained teacher and its student have whole embedding tables only.",
                where="embedding.sharding",
                expected="null",
                found=str(self.cfg.embedding.sharding),
                remedy="Set embedding=default, or train the teacher first (teacher=trained).",
            )
        if cotraining.share_embeddings:
            sharing = TableSharing()
            model = self._model(sharing.lend)
            teacher = self._cotrained_net(cotraining, sharing.borrow(cotraining.own_embeddings))
        else:
            model, teacher = self._model(EmbeddingTables), self._cotrained_net(cotraining, EmbeddingTables)
        loss = build_loss(cotraining.loss, "teacher.loss")
        card = model_card(cotraining.net, self._teacher_schema(cotraining), self.dataset.fingerprint)
        return model, CotrainedTeacher(self._compiled(teacher), loss, card)

    def _cotrained_net(self, cotraining: Cotraining, tables: TableFactory) -> nn.Module:
        return build_model(cotraining.net, self._teacher_schema(cotraining), "teacher.model.net", tables)

    def _compiled(self, model: nn.Module) -> nn.Module:
        if self.cfg.compile.enabled:
            compile_dense(model, self.cfg.compile.mode, self.cfg.compile.dynamic)
        return model

    def _source(self) -> SignalSource | None:
        return None if self.signals is None else self.signals.source

    def _model_schema(self) -> Schema:
        return self.dataset.schema.serving_view() if self.plan.serving else self.dataset.schema

    def _teacher_schema(self, cotraining: Cotraining) -> Schema:
        return self.dataset.schema if cotraining.privileged else self.dataset.schema.serving_view()

    def planned_steps(self) -> int:
        """Counts the optimiser steps of the whole training; 0 of a model that is fitted in one pass."""
        in_one_pass = issubclass(model_class(self.plan.net, self.plan.key("model.net")), FittedPreRanker)
        return 0 if in_one_pass else self._total_steps(self._data())

    def _total_steps(self, data: RankingDataModule) -> int:
        steps = data.steps_per_epoch() * self.plan.max_epochs
        return min(steps, self.cfg.trainer.max_steps) if self.cfg.trainer.max_steps > 0 else steps

    def _data(self) -> RankingDataModule:
        cotraining = self.plan.cotraining
        privileged = self.signals.privileged if self.signals is not None else False
        full = not self.plan.serving or privileged or (cotraining is not None and cotraining.privileged)
        return RankingDataModule(
            root=self.dataset.root,
            view="full" if full else "serving",
            signals=None if self.signals is None else self._reader_signals(self.signals.reader),
            hidden=build_loss(self.plan.loss, self.plan.key("loss")).teacher_vectors,
            seed=self.cfg.seed,
            **plain(self.cfg.data.loader),
        )

    def _reader_signals(self, reader: str | None) -> dict[str, str | None]:
        """Every split is measured against the teacher; training reads its signals only if the loss wants them."""
        return {"train": reader if self.plan.taught else None, "val": reader, "test": reader}

    def _module(self, data: RankingDataModule, model: nn.Module, source: SignalSource | None) -> RankingModule:
        loss = build_loss(self.plan.loss, self.plan.key("loss"))
        if loss.needs_hidden:
            loss.setup_hidden(*self._hidden_widths(model, source, data.schema))
        if loss.needs_items:
            loss.setup_items(item_fields(self.dataset, self._model_schema()))
        sampling = Sampling({n: build(node, f"sampling.{n}") for n, node in self.plan.sampling.items()})
        sampling.setup_missing(missing_row(self.dataset, data.schema.side(Side.CROSS)))
        if sampling.needs_items:
            sampling.setup_items(load_catalogue(self.dataset, data.schema))
        return RankingModule(
            model=model,
            loss=loss,
            sampling=sampling,
            optimizer=build(self.plan.optimizer, self.plan.key("optimizer"), OptimizerFactory),
            schedule=build(self.plan.scheduler, self.plan.key("scheduler"), LRSchedule),
            schema=data.schema,
            metrics=build_metrics(self.cfg.metrics, self.dataset),
            signals=source,
            total_steps=self._total_steps(data),
            card=model_card(self.plan.net, self._model_schema(), self.dataset.fingerprint),
            serving=self.plan.serving,
        )

    @torch.no_grad()
    def _hidden_widths(
        self, model: nn.Module, source: SignalSource | None, schema: Schema
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Returns the widths of the hidden vectors of student and teacher: of models by running them on two candidates,
        of written signals by their type."""
        student = hidden_vectors(model, random_batch(self._model_schema(), [2]))
        teacher: Mapping[str, Tensor] = {}
        online = None if source is None else source.model
        if online is not None:
            teacher = hidden_vectors(online.cpu(), random_batch(schema, [2]))
        widths = {n: v.shape[1] for n, v in teacher.items()}
        if self.signals is not None and self.signals.reader == SIGNALS_IN_DATASET and schema.teacher is not None:
            widths = {name: spec.width for name, spec in (schema.teacher.hidden or {}).items()}
        elif self.signals is not None and self.signals.reader is not None:
            widths = open_sidecar(self.dataset, schema.task_names, "train", Path(str(self.signals.reader))).hidden
        return {n: v.shape[1] for n, v in student.items()}, widths

    def _trainer(self, callbacks: list[pl.Callback], logger: Logger | bool) -> pl.Trainer:
        trainer: pl.Trainer = build(
            self.cfg.trainer,
            "trainer",
            pl.Trainer,
            max_epochs=self.plan.max_epochs,
            callbacks=callbacks,
            logger=logger,
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

    def _callbacks(self) -> list[pl.Callback]:
        return fit_callbacks(self.cfg, self.plan.role, self.folder, self.log_dir)

    def _logger(self) -> Logger | bool:
        if not self.cfg.logger.tensorboard:
            return False
        return TensorBoardLogger(self.log_dir, name=self.plan.role, version="", default_hp_metric=False)

    def _best(self, trainer: pl.Trainer) -> Path:
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best:
            return Path(best)
        trainer.save_checkpoint(self.folder / "last.ckpt")  # training ended before the first validation
        return self.folder / "last.ckpt"
