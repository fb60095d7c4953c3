"""Builds the models of a fit: what it trains, and the teacher that this listens to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import nn

from distill.data.datamodule import View
from distill.data.format import Dataset
from distill.data.stream.signals import DATASET as SIGNALS_IN_DATASET
from distill.data.stream.signals import open_sidecar
from distill.errors import ConfigError
from distill.features import TableFactory, TableSharing, table_factory
from distill.jobs.fit_plan import FitPlan, Signals
from distill.jobs.parts import build_model, hidden_vectors, model_card, widths
from distill.jobs.two_heads import build_two_headed
from distill.losses.setting import task_infos
from distill.models.cost.random_batch import random_batch
from distill.schema import Schema
from distill.signals import SignalSource
from distill.training.callbacks import CarriedEncodings
from distill.training.compiled import compile_dense
from distill.training.cotraining import CotrainedTeacher, cotrained_setting
from distill.training.second_head import SecondHead


class BuiltModels(NamedTuple):
    """What a fit trains and listens to.

    Attributes:
        model: That is trained.
        source: Of the teacher's signals; None without a teacher.
        second_head: What of the model is served, if the teacher has a head of its own.
    """

    model: nn.Module
    source: SignalSource | None
    second_head: SecondHead | None


@dataclass(frozen=True)
class FitModels:
    """Models of a plan.

    Attributes:
        cfg: Of the run; of it, `embedding` and `compile`.
        plan: What to train.
        dataset: On what.
        signals: What the teacher says; None without one, and while it learns with the student.
    """

    cfg: DictConfig
    plan: FitPlan
    dataset: Dataset
    signals: Signals | None

    def build(self, total_steps: int) -> BuiltModels:
        """Builds the model, and the teacher that it listens to: one that learns, unless its signals are there."""
        cotraining = self.plan.cotraining
        embedding = self.cfg.embedding
        if cotraining is None or self.signals is not None:
            model, second_head = self._own_net(table_factory(embedding.sharding, embedding.dtype))
            return BuiltModels(model, None if self.signals is None else self.signals.source, second_head)
        whole = table_factory(None, embedding.dtype)
        if cotraining.share_embeddings:
            sharing = TableSharing(whole)
            model, second_head = self._own_net(sharing.lend)
            teacher = self._net(cotraining.teacher, sharing.borrow(cotraining.own_embeddings))
        else:
            model, second_head = self._own_net(whole)
            teacher = self._net(cotraining.teacher, whole)
        loss, tasks = cotraining.teacher.build_loss(), self.dataset.schema.task_names
        loss.setup(cotrained_setting(task_infos(self.dataset.schema, tasks), total_steps))
        return BuiltModels(model, CotrainedTeacher(teacher, loss, self.card(cotraining.teacher)), second_head)

    def card(self, plan: FitPlan) -> dict[str, Any]:
        """Describes the model of a plan, for its checkpoint."""
        return model_card(plan.net, self.schema(plan), self.dataset.fingerprint)

    def encodings(self) -> CarriedEncodings:
        """Of what the model reads; beside a teacher that learns, of what either reads."""
        schema = self.schema(self.plan) if self.plan.cotraining is None else self.dataset.schema
        return CarriedEncodings(self.dataset.root, self.dataset.manifest.encodings.of(schema.fields))

    def schema(self, plan: FitPlan) -> Schema:
        """Returns what the model of a plan reads: without privileged fields, if it is to be served."""
        return self.dataset.schema.serving_view() if plan.serving else self.dataset.schema

    @property
    def view(self) -> View:
        """What batches must hold: `full` if the model or its teacher sees privileged fields."""
        cotraining = self.plan.cotraining
        privileged = self.signals is not None and self.signals.privileged
        full = not self.plan.serving or privileged or (cotraining is not None and not cotraining.teacher.serving)
        return "full" if full else "serving"

    def student_vectors(self, model: nn.Module) -> dict[str, int]:
        """Returns the widths of the model's hidden vectors, by running it on two candidates."""
        return widths(hidden_vectors(model, random_batch(self.schema(self.plan), [2])))

    def teacher_vectors(self, source: SignalSource | None) -> dict[str, int]:
        """Returns the widths of the teacher's hidden vectors: of models by running them on two candidates, of written
        signals by their type."""
        schema = self.dataset.schema
        if self.signals is not None and self.signals.reader == SIGNALS_IN_DATASET and schema.teacher is not None:
            return {name: spec.width for name, spec in (schema.teacher.hidden or {}).items()}
        if self.signals is not None and self.signals.reader is not None:
            return dict(open_sidecar(self.dataset, schema.task_names, "train", Path(self.signals.reader)).hidden)
        online = None if source is None else source.model
        return {} if online is None else widths(hidden_vectors(online.cpu(), random_batch(schema, [2])))

    def _net(self, plan: FitPlan, tables: TableFactory) -> nn.Module:
        return self._compiled(build_model(plan.net, self.schema(plan), plan.key("model.net"), tables))

    def _own_net(self, tables: TableFactory) -> tuple[nn.Module, SecondHead | None]:
        """Builds the model, and says what of it is served if the teacher has a head of its own."""
        if not self.plan.decoupled:
            return self._net(self.plan, tables), None
        plan = self.plan
        model, second_head = build_two_headed(plan.net, self.schema(plan), plan.key("model.net"), tables)
        return self._compiled(model), second_head

    def _refuse_gradnorm(self) -> None:
        if self.plan.reads_parameters:
            raise ConfigError(
                "GradNorm goes back through the model once for each term, which compiled layers do not allow.",
                where="compile.enabled",
                expected="false, or another loss.weighting",
                found="true, with GradNorm",
            )

    def _compiled(self, model: nn.Module) -> nn.Module:
        if self.cfg.compile.enabled:
            self._refuse_gradnorm()
            compile_dense(model, self.cfg.compile.mode, self.cfg.compile.dynamic)
        return model
