"""The one LightningModule: teacher, student and control are this module with other parts plugged in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from distill.batch import Batch, FeatureBlock, LossReport, RankerOutput, TeacherSignals
from distill.data.stream import PlacedBatch
from distill.errors import ConfigError
from distill.features import ServingProjection, TableGroups
from distill.losses import CompositeLoss, LossInputs
from distill.metrics import MetricState, MetricSuite, ScoredRows, rows_of_batch, teacher_rows
from distill.models.prerankers.base import SplitPreRanker
from distill.models.score import RankingScore
from distill.models.training_rows import rows_in_training
from distill.ops.hosts import Hosts
from distill.ops.nodes import Nodes
from distill.ops.ranks import mean_over_ranks
from distill.ops.waiting import can_look
from distill.sampling import Sampling
from distill.schema import Schema
from distill.signals import SignalSource
from distill.training.finished_gradients import FinishedGradients
from distill.training.kept_steps import Greatest
from distill.training.lr_schedule import LRSchedule
from distill.training.optim import OptimizerFactory, dense_parameters, table_parameters
from distill.training.second_head import SECOND_HEAD, SecondHead
from distill.training.sparse_sync import broadcast_tables

_log = logging.getLogger(__name__)
_OF_HOST = ("request_id", "user_id", "item_id", "row", "columns")  # for sample rules, which have run, and metrics


@dataclass(frozen=True)
class Recipe:
    """What a model learns from, and how.

    Attributes:
        loss: Terms, weighted and scheduled; set up.
        sampling: Labels training rows that the log did not label, and adds others; set up.
        optimizer: Builds the optimiser.
        schedule: Learning rate by step.
        total_steps: Optimiser steps of the whole training, for the schedule.
        epoch_steps: Of an epoch; the training is one if None.
    """

    loss: CompositeLoss
    sampling: Sampling
    optimizer: OptimizerFactory
    schedule: LRSchedule
    total_steps: int
    epoch_steps: int | None = None


class RankingModule(pl.LightningModule):
    """Trains a model with a composite loss, with or without a teacher, and measures it.

    Args:
        model: Ranker or pre-ranker; a pre-ranker never sees privileged fields.
        recipe: What it learns from, and how.
        schema: The view that batches are read with.
        metrics: What validation and test measure.
        signals: Teacher signals, for the loss and for the metrics of agreement; the teacher may learn with the model.
        card: Plain data that a checkpoint must carry to be loaded alone: model config, schema, dataset fingerprint.
        serving: Whether the model must not see privileged fields, as every student; they are removed from its batches.
        second_head: What of the model is served, if it has a head for the teacher; checkpoints hold that model.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        schema: Schema,
        metrics: MetricSuite,
        signals: SignalSource | None,
        card: Mapping[str, Any],
        serving: bool,
        second_head: SecondHead | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = recipe.loss
        self.sampling = recipe.sampling
        self.signals = signals
        self.metrics = metrics
        self.card = dict(card)
        self.tasks: Sequence[str] = schema.task_names
        self.score = RankingScore(schema)
        self.projection = ServingProjection(schema) if serving else nn.Identity()
        self.second_head = second_head
        self._optimizer_factory = recipe.optimizer
        self._schedule = recipe.schedule
        self.total_steps, self._epoch_steps = recipe.total_steps, recipe.epoch_steps
        self._rows = MetricState(metrics.device)
        self._told: set[str] = set()
        self.test_rows: ScoredRows | None = None
        self.last_report: LossReport | None = None
        self.last_batch: Batch | None = None
        self.last_signals: TeacherSignals | None = None
        self.last_greatest: Greatest | None = None
        taught = schema.task_names if signals is None or signals.tasks is None else signals.tasks
        self.teacher_score = RankingScore(schema, taught)
        self._wants_hidden = bool(recipe.loss.teacher_vectors)
        self._leave_tables_out_of_ddp()

    def forward(self, batch: Batch) -> RankerOutput:
        """Scores a batch with the model, privileged fields removed if it is a student; float32 also under autocast."""
        return self._scored(self.projection(batch))

    def _scored(self, seen: Batch) -> RankerOutput:
        output: RankerOutput = self.model(seen)
        return output.map(Tensor.float)

    def setup(self, stage: str) -> None:
        """Makes every rank start from rank 0's embedding tables and divide by the rows of all ranks."""
        if self.trainer.world_size > 1:
            broadcast_tables(table_parameters(self))
            for loss in (module for module in self.modules() if isinstance(module, CompositeLoss)):
                loss.reduce_denominators = mean_over_ranks

    def on_train_start(self) -> None:
        """Looks what learns and what does not.

        Raises:
            ConfigError: Lightning is to clip gradients, which it cannot do to those of touched rows.
        """
        if self.trainer.gradient_clip_val and table_parameters(self):
            raise ConfigError(
                "Lightning cannot clip the gradients of embedding tables, which have their touched rows alone.",
                where="gradient_clip_val",
                found=f"trainer.gradient_clip_val={self.trainer.gradient_clip_val}",
                remedy="Leave it out and set optimizer.clip_norm, the norm of the dense gradients.",
            )
        teacher = self.signals if self.signals is not None and self.signals.learns else None
        apart = [part for part in (teacher, self.loss.adapter) if part is not None]
        nodes = Nodes.of(self.trainer.num_nodes, self.trainer.node_rank, self.device)
        if nodes is not None and self.trainer.is_global_zero:
            _log.info("Touched rows are exchanged between the ranks of each node first.")
        self.hosts = Hosts.joined()
        clip_norm = self._optimizer_factory.clip_norm
        self.finish_gradients = FinishedGradients(self, apart, clip_norm, self.hosts, nodes)

    @property
    def takes_whole_steps(self) -> bool:
        """Whether `training_step` does all of a step, the update included."""
        return False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch; callbacks find its terms in `last_report`."""
        batch, taught = self.made_ready(batch)
        report = self.report_of(batch, self.global_step)
        if taught is not None:
            report = report.beside("teacher", taught)
        self.remember(batch, replace(report, total=report.total.detach()))
        return report.total

    def made_ready(self, batch: Batch) -> tuple[Batch, LossReport | None]:
        """Returns a batch where the model is as a step takes it, and the loss of a teacher that learns in the step."""
        if batch.is_ready:
            return batch, None
        step = self.global_step
        signals, taught = self._heard(batch, step)
        return self._ready(replace(batch, signals=signals), step), taught

    def report_of(self, batch: Batch, step: int) -> LossReport:
        """Returns the loss, with gradient, of a batch that is ready."""
        inputs = self.loss_inputs(batch, step)
        with torch.autocast(self.device.type, enabled=False):  # losses are sums of small differences
            report: LossReport = self.loss(inputs)
        return report

    def remember(self, batch: Batch, report: LossReport, greatest: Greatest | None = None) -> None:
        """Leaves a step, without gradient, for callbacks; `greatest` if its gradients were looked over in it."""
        self.last_batch, self.last_signals = batch, batch.signals
        self.last_report, self.last_greatest = report, greatest

    def on_before_batch_transfer(self, batch: Batch | PlacedBatch, dataloader_idx: int) -> Batch | PlacedBatch:
        """Makes a training batch ready on the host, where sizes that depend on values cost nothing; one that is
        gathered on the device, or whose signals come from a model that runs in the step, is made ready there."""
        if not isinstance(batch, Batch) or batch.is_ready:
            return batch
        return self.ready_on_host(batch, self.global_step) if self.trainer.training else batch.measured()

    @property
    def packs_ahead(self) -> bool:
        """Whether a batch that is made ready ahead of its step is then as it is sent."""
        return True

    def ready_on_host(self, batch: Batch | PlacedBatch, step: int) -> Batch | PlacedBatch:
        """Makes a training batch ready for a step as far as the host can: on any thread, and before the step."""
        if isinstance(batch, PlacedBatch):
            return batch
        if self._hears and self.signals is not None and self.signals.model is not None:
            return batch.measured()  # candidates may yet be left out: there will be no more, nor longer ones
        signals, _ = self._heard(batch, step)
        ready = self._ready(replace(batch, signals=signals), step)
        read = {name for term in self.loss.named_terms().values() for name in term.reads}
        return replace(ready.measured(), on_host=tuple(name for name in _OF_HOST if name not in read))

    def loss_inputs(self, batch: Batch, step: int) -> LossInputs:
        """Scores a batch that is ready, and carries its signals, for the loss at a step."""
        seen = self.projection(batch)
        tower = item_tower(self.model, self.device)
        return LossInputs(seen, self._scored(seen), batch.signals, step, tower, self._dense_weights)

    @cached_property
    def _dense_weights(self) -> dict[str, nn.Parameter]:
        """Those that learn, by name, for a loss that asks for them."""
        return dense_parameters(self.model) if self.loss.reads_parameters else {}

    @property
    def _hears(self) -> bool:
        return self.loss.needs_signals or self.sampling.needs_signals

    def _heard(self, batch: Batch, step: int) -> tuple[TeacherSignals | None, LossReport | None]:
        """Returns the teacher's signals, and its own loss if it learns in the same step."""
        if self.signals is None or not self._hears:
            return None, None
        return self.signals.learn(batch, lambda: self._wanted(batch, step), step, self._wants_hidden)

    def _wanted(self, batch: Batch, step: int) -> Tensor:
        """Says which candidates the teacher's signals are wanted of `[N]` bool."""
        return batch.weight > 0 if self.sampling.needs_signals else self.loss.listens_to(batch, step)

    def _ready(self, batch: Batch, step: int) -> Batch:
        """Applies the sample rules, and leaves out candidates that neither a loss term acts on nor the model itself
        needs, such as unlabelled ones without a teacher: a model scores each candidate for itself, so they would be
        scored for nothing. They stay where the host would wait to know them."""
        batch = replace(batch.sampled(self.sampling(batch, step)), is_ready=True)
        batch = self._told_of_added(batch)
        if not can_look(batch.weight):
            return batch
        wanted = self.loss.acts_on(batch, batch.signals, step) | rows_in_training(self.model, batch)
        rows = wanted.nonzero().flatten()
        return batch if rows.shape[0] == batch.num_candidates else batch.select(rows)

    def _told_of_added(self, batch: Batch) -> Batch:
        """Adds what the teacher says of rows that sample rules added, if they ask for it. Where the host may not look
        which rows these are, it is asked about all again."""
        origins = self.sampling.taught_origins
        if not origins or batch.signals is None or self.signals is None:
            return batch
        asked = torch.stack([batch.origin == origin for origin in origins]).any(dim=0)
        if not can_look(asked):
            return replace(batch, signals=self.signals(batch))
        rows = asked.nonzero().flatten()
        if not rows.shape[0]:
            return batch
        return replace(batch, signals=batch.signals.told(rows, self.signals(batch.select(rows))))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Finishes the gradients."""
        self.finish_gradients()

    def configure_optimizers(self) -> Any:
        """Returns the combined optimiser and its schedule by step."""
        optimizer = self._optimizer_factory.build(self)
        schedule = LambdaLR(optimizer, lambda step: self._schedule.factor(step, self.total_steps, self._epoch_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the scored rows of a batch."""
        self._rows.update(self.scored_rows(batch))

    def on_validation_epoch_start(self) -> None:
        """Forgets earlier rows."""
        self._rows.reset()

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics of all rows of all ranks."""
        rows = self._gathered("val")
        values = self.metrics.compute(rows, self.tasks)
        teacher = teacher_rows(rows) if self.signals is not None and self.signals.learns else None
        if teacher is not None:
            values |= {f"teacher/{n}": value for n, value in self.metrics.compute(teacher, self.tasks).items()}
        self.log_dict({f"val/{name}": value for name, value in values.items()}, rank_zero_only=False)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the scored rows of a batch."""
        self._rows.update(self.scored_rows(batch))

    def on_test_epoch_start(self) -> None:
        """Makes room for its rows on the host, where those of several models are compared."""
        self._rows = MetricState()

    def on_test_epoch_end(self) -> None:
        """Keeps the rows of all ranks in `test_rows`; who compares models measures them."""
        self.test_rows = self._gathered("test")
        self._rows = MetricState(self.metrics.device)

    def _gathered(self, split: str) -> ScoredRows:
        """Returns the rows of all ranks; says once what was left out and which metrics lack their input."""
        found = self._rows.gather()
        self._rows.reset()
        notes = {
            f"{found.num_weightless} rows of weight 0 count for nothing and are left out": found.num_weightless > 0,
            f"{found.num_duplicates} rows came twice and were counted once": found.num_duplicates > 0,
            f"{found.num_cut_requests} requests were in pieces and were put together": found.num_cut_requests > 0,
        }
        if split == "test":
            missing = self.metrics.missing(found.rows, self.tasks)
            notes |= {f"metric {name} is left out or partial: {why}": True for name, why in missing.items()}
        if self.trainer.is_global_zero and split not in self._told:
            for note in (note for note, happened in notes.items() if happened):
                _log.info("%s: %s", split, note)
        self._told.add(split)
        return found.rows

    @torch.no_grad()
    def scored_rows(self, batch: Batch) -> ScoredRows:
        """Scores a batch and pairs the scores with labels, keys and the teacher's scores."""
        logits = self(batch).logits.float()
        signals: TeacherSignals | None = self.signals(batch) if self.signals is not None else None
        teacher_score = self.teacher_score if self.teacher_score.tasks else None
        return rows_of_batch(batch, logits, self.score, signals, teacher_score)

    def release(self) -> None:
        """Gives back what training alone needs, however it ended."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the card, and leaves a frozen teacher's weights out: they have a file of their own. Of one that learns,
        they are there as it would have them alone, and so are the student's."""
        checkpoint["state_dict"] = self.standalone_state(checkpoint["state_dict"])
        if self.second_head is not None:
            served, both = self.second_head.saved(checkpoint["state_dict"], "model.")
            checkpoint |= {"state_dict": served, SECOND_HEAD: both}
        checkpoint["distill"] = self.card
        if self.signals is not None and self.signals.card is not None:
            checkpoint["distill"] = {**self.card, "teacher": self.signals.card}

    def standalone_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the weights with which the model can be loaded alone; see `SignalSource.standalone_state`."""
        return dict(state) if self.signals is None else self.signals.standalone_state(state, self.model)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts a frozen teacher's weights beside those of the checkpoint; those of one that learns are in it."""
        if self.second_head is not None:
            both = checkpoint.get(SECOND_HEAD)
            checkpoint["state_dict"] = self.second_head.whole(checkpoint["state_dict"], both, "model.")
        if self.signals is not None:
            checkpoint["state_dict"] = self.signals.whole_state(checkpoint["state_dict"], self.model)

    def _leave_tables_out_of_ddp(self) -> None:
        tables = {id(p) for p in table_parameters(self)}
        named = self.named_parameters(remove_duplicate=False)
        groups = {id(of) for m in self.modules() if isinstance(m, TableGroups) for _, of in m.items()}
        self._ddp_params_and_buffers_to_ignore = [
            *(name for name, p in named if id(p) in tables),
            *(name for name, b in self.named_buffers(remove_duplicate=False) if id(b) in groups),
        ]


def item_tower(model: nn.Module, device: torch.device) -> Callable[[FeatureBlock], Tensor] | None:
    """Returns what encodes items for the loss: with autocast as it is now, though losses do without; None if the model
    has no item tower."""
    if not isinstance(model, SplitPreRanker):
        return None
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def encode(block: FeatureBlock) -> Tensor:
        with torch.autocast(kind, dtype=dtype, enabled=enabled):
            return model.encode_candidate(block)

    return encode
