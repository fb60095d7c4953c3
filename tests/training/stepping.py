"""Modules ready for a training step, and the step as the trainer takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, Ragged, TeacherSignals
from distill.data.catalogue import Catalogue
from distill.data.items import ItemFields
from distill.data.popularity import ItemExposures
from distill.features import EmbeddingTables, TableFactory
from distill.jobs.parts import build_model
from distill.losses import CompositeLoss, LossTerm, TaskInfo
from distill.losses.setting import LossSetting
from distill.losses.terms import HardBCE
from distill.metrics import MetricSuite
from distill.models.prerankers.base import PreRanker
from distill.sampling import Sampling
from distill.sampling.base import Sampler
from distill.schema import Side
from distill.signals import SignalSource
from distill.signals.column import ColumnSignals
from distill.training.lr_schedule import LRSchedule
from distill.training.module import RankingModule, Recipe
from distill.training.optim import OptimizerFactory
from distill.training.row_regularization import RowRegularization
from tests.batches import make_batch, make_block, make_schema
from tests.models.composing import composed_net
from tests.models.listing import PRERANKERS

SCHEMA = make_schema()
VIEW = SCHEMA.serving_view()
TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 0.5)]
SIZES = (4, 3, 2, 5, 1, 4)
HIDDEN = 6


def batch_of(serving: bool, seed: int = 3, sizes: tuple[int, ...] = SIZES) -> Batch:
    """A batch with stored signals; some rows are of weight 0, some without labels, some without signals."""
    made = make_batch(VIEW if serving else SCHEMA, sizes, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    count = made.num_candidates
    valid = torch.rand(count, generator=draw) < 0.7
    logits = torch.randn(count, 2, generator=draw) * valid.unsqueeze(1)
    observed = torch.rand(count, 2, generator=draw) < 0.6
    weight = torch.where(torch.rand(count, generator=draw) < 0.2, 0.0, 1.5)
    return replace(
        made,
        observed=observed,
        labels=made.labels * observed,
        weight=weight,
        stage=torch.randint(0, 4, (count,), generator=draw),
        signals=TeacherSignals(logits, valid, {"body": torch.randn(count, HIDDEN, generator=draw)}),
    )


@cache
def _items() -> ItemFields:
    fields = make_block(VIEW.side(Side.CANDIDATE), 30, torch.Generator().manual_seed(1))
    return ItemFields(torch.arange(30) * 10, fields, missing(Side.CANDIDATE), are_all=True)


def missing(side: Side) -> FeatureBlock:
    """A row of missing values."""
    block = make_block(VIEW.side(side), 1, torch.Generator().manual_seed(0))
    block = block.map(torch.zeros_like)
    return replace(block, sequences={name: Ragged(r.values[:0], r.lengths) for name, r in block.sequences.items()})


def _catalogue() -> Catalogue:
    known = _items()
    exposures = ItemExposures(known.item_id, torch.arange(known.item_id.shape[0]))
    return Catalogue(known.item_id, known.fields, exposures, ("item",))


def setting(model: nn.Module) -> LossSetting:
    """What terms and samplers are told of the run."""
    with torch.no_grad():
        hidden = model.eval()(batch_of(isinstance(model, PreRanker))).hidden
    widths = {name: int(vectors.shape[1]) for name, vectors in hidden.items()}
    return LossSetting(
        TASKS,
        has_signals=True,
        total_steps=10,
        student_vectors=lambda: widths,
        teacher_vectors=lambda: {"body": HIDDEN},
        items=_items,
        catalogue=_catalogue,
        exposures=lambda: _catalogue().exposures,
        missing_cross=lambda: missing(Side.CROSS),
    )


def module_of(
    model: str | nn.Module,
    terms: Mapping[str, LossTerm] | None = None,
    samplers: Mapping[str, Sampler] | None = None,
    signals: SignalSource | None = None,
    embedding: Any = "rowwise_adagrad",
    rows: RowRegularization | None = None,
    dense_rows: int = 0,
    overrides: tuple[str, ...] = (),
    tables: TableFactory = EmbeddingTables,
) -> RankingModule:
    """A module in training, with its trainer."""
    torch.manual_seed(1)
    if isinstance(model, str):
        view = VIEW if model in PRERANKERS else SCHEMA
        model = build_model(dict(_net(model, overrides)), view, "model.net", tables)
    loss, sampling = CompositeLoss(terms or {"hard": HardBCE()}), Sampling(samplers or {})
    known = setting(model)
    loss.setup(known)
    sampling.setup(known)
    serving = isinstance(model, PreRanker)
    module = RankingModule(
        model=model,
        recipe=Recipe(
            loss=loss,
            sampling=sampling,
            optimizer=OptimizerFactory(
                0.01, 0.01, (0.9, 0.999), embedding, 0.1, 1.0, rows or RowRegularization(), dense_rows
            ),
            schedule=LRSchedule("constant", 0, 0.0),
            total_steps=10,
        ),
        schema=VIEW if serving else SCHEMA,
        metrics=MetricSuite({}),
        signals=ColumnSignals() if signals is None else signals,
        card={},
        serving=serving,
    ).train()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.training = True
    module.trainer = trainer
    return module


@cache
def _net(model: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    return composed_net(model, *overrides)


class Stepper:
    """Takes training steps of a module as the trainer does.

    Args:
        module: From `module_of`.
        precision: Of matrix products in the forward pass.
    """

    def __init__(self, module: RankingModule, precision: torch.dtype = torch.float32) -> None:
        self.module = module
        self._precision = precision
        module.on_train_start()
        found = module.configure_optimizers()
        self.optimizer, self.schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]

    def prepare(self, batch: Batch) -> Batch:
        """What happens to a batch on the host."""
        prepared: Batch = self.module.on_before_batch_transfer(batch, 0)
        return prepared

    def forward_context(self) -> torch.autocast:
        """Within which the trainer calls a step of the module."""
        is_mixed = self._precision is not torch.float32
        return torch.autocast(self.module.device.type, torch.bfloat16, is_mixed, cache_enabled=False)

    def step(self, batch: Batch) -> Tensor:
        """A step on a batch that is where the model is."""
        self.optimizer.zero_grad()
        with self.forward_context():
            loss = self.module.training_step(batch, 0)
        loss.backward()
        self.module.on_before_optimizer_step(self.optimizer)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()


def state_of(module: RankingModule) -> dict[str, Tensor]:
    """Weights and buffers of the model and of the loss."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
