"""What a fit is told, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.node import build, plain
from distill.jobs.parts import build_loss, is_preranker
from distill.jobs.start_vectors import VectorFile, vector_files
from distill.losses.composite import CompositeLoss
from distill.losses.setting import task_infos
from distill.losses.terms.base import LossTerm
from distill.metrics.learning import LearningCurve
from distill.sampling import Sampler, Sampling
from distill.schema import Schema
from distill.signals import SignalSource
from distill.training.callbacks import Ending

_VECTORS = "model.vectors"
HEAD_BIAS = "default"
"""How heads begin unless a config says otherwise: with the model's own initial weights."""

Role = Literal["teacher", "control", "student", "model"]


@dataclass(frozen=True)
class FitPlan:
    """What to train and how; `of` is the only place that makes one of a config.

    Attributes:
        role: teacher | control | student | model; also the name in logs.
        net: Config of the model.
        loss, optimizer, scheduler: Configs of those parts.
        sampling: Configs of its samplers.
        max_epochs: How often the training split is read.
        serving: Whether the model must not see privileged fields.
        cotraining: The teacher that learns in the same steps, if any.
        init_from: A checkpoint that the model begins with, if any.
        init_optimizer: Whether its optimiser begins with the checkpoint's too.
        vectors: Table to the vectors that its rows begin with.
        decoupled: Whether the teacher's terms act on a head of their own.
        head_bias: `prior` lets its heads begin at the rates of the labels; `default` as the model has them.
    """

    role: Role
    net: Mapping[str, Any]
    loss: Mapping[str, Any]
    sampling: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    max_epochs: int
    serving: bool
    cotraining: Cotraining | None = None
    init_from: Path | None = None
    init_optimizer: bool = False
    vectors: Mapping[str, VectorFile] = field(default_factory=dict)
    decoupled: bool = False
    head_bias: str = HEAD_BIAS

    @classmethod
    def of(cls, cfg: DictConfig, role: Role) -> FitPlan:
        """Plans the training of one of the models of a run.

        Args:
            cfg: Of the run.
            role: `teacher` (of `teacher=trained` and `cotrained`), `control` (the student without a teacher),
                `student`, or `model` (a ranker without a teacher).

        Raises:
            ConfigError: Nothing is left to train a control with, or a cotrained teacher has no student to listen to it.
        """
        node = cfg.teacher if role == "teacher" else cfg
        own = cfg.teacher if role == "teacher" and cfg.teacher.source == "trained" else cfg
        plan = cls(
            role=role,
            net=plain(node.model.net),
            loss=plain(node.loss),
            sampling={} if role == "teacher" else plain(cfg.sampling),
            optimizer=plain(own.optimizer),
            scheduler=plain(own.scheduler),
            max_epochs=int(cfg.trainer.max_epochs if own is cfg else own.max_epochs),
            serving=role in ("student", "control") or not node.privileged,
            init_optimizer=bool(node.model.init_optimizer),
            init_from=None if node.model.init_from is None else checkpoint_of(Path(str(node.model.init_from))),
            head_bias=str(node.model.head_bias),
            vectors=vector_files(plain(node.model.vectors), "teacher.model.vectors" if node is not cfg else _VECTORS),
        )
        if role in ("student", "model"):
            plan = replace(plan, decoupled=cfg.model.head == "decoupled")
        if plan.init_optimizer and plan.init_from is None:
            raise ConfigError(
                "The optimiser state can only come from a checkpoint.",
                where=plan.key("model.init_optimizer"),
                expected=f"false, or a checkpoint in {plan.key('model.init_from')}",
                found="true",
            )
        if role == "control":
            return plan._alone(cfg.control)
        plan._check_asked(cfg.teacher)
        if role == "student" and cfg.teacher.source == "cotrained":
            plan._must_listen()
            plan._refuse_adapter()
            return replace(plan, cotraining=Cotraining.of(cfg))
        return plan

    @classmethod
    def main(cls, cfg: DictConfig) -> FitPlan:
        """Plans the training of the model that a run is about: a student, or a ranker without a teacher."""
        student = cfg.teacher.source != "none" or is_preranker(plain(cfg.model.net), "model.net")
        return cls.of(cfg, "student" if student else "model")

    def key(self, part: str) -> str:
        """Where the config describes a part of this model: `loss`, or `teacher.loss`."""
        return f"teacher.{part}" if self.role == "teacher" else part

    def build_loss(self) -> CompositeLoss:
        """Builds a new loss."""
        return build_loss(self.loss, self.key("loss"))

    def build_sampling(self) -> Sampling:
        """Builds new samplers."""
        return Sampling({name: build(node, f"sampling.{name}") for name, node in self.sampling.items()})

    @cached_property
    def _parts(self) -> tuple[CompositeLoss, Sampling]:
        """Parts that are asked and never trained."""
        return self.build_loss(), self.build_sampling()

    @property
    def terms(self) -> dict[str, LossTerm]:
        """The terms of the loss by name, to ask them questions."""
        return self._parts[0].named_terms()

    @property
    def samplers(self) -> dict[str, Sampler]:
        """The samplers by name, to ask them questions."""
        rules = self._parts[1].samplers
        return {name: rule for name, rule in zip(self.sampling, rules, strict=True) if isinstance(rule, Sampler)}

    @property
    def taught(self) -> bool:
        """Whether the loss or the sampling reads teacher signals."""
        loss, sampling = self._parts
        return loss.needs_signals or sampling.needs_signals

    @property
    def reads_parameters(self) -> bool:
        """Whether the loss looks at gradients of the model's weights."""
        return self._parts[0].reads_parameters

    @property
    def teacher_vectors(self) -> tuple[str, ...]:
        """Names of the teacher's hidden vectors that the loss reads, sorted."""
        return self._parts[0].teacher_vectors

    @property
    def probabilities(self) -> tuple[str, ...]:
        """Names of the terms that take the teacher's logits for those of labels."""
        return tuple(name for name, term in self.terms.items() if term.needs_probabilities)

    def check(self, schema: Schema, taught: Sequence[str], has_signals: bool) -> None:
        """Refuses loss terms and samplers that do not fit the tasks or the teacher.

        Args:
            schema: Of the dataset.
            taught: Names of the tasks that the teacher scores.
            has_signals: Whether there is one.

        Raises:
            ConfigError: A term or sampler asks for a task, or for the teacher's word on one, that there is not.
        """
        tasks, (loss, sampling) = task_infos(schema, taught), self._parts
        if self.decoupled and not any(term.reads_scores for term in self.terms.values()):
            raise ConfigError(
                "No term would train the separate head of the teacher's terms.",
                where="model.head",
                expected="shared, or a loss with a term on the teacher's scores",
                found="decoupled, with " + ", ".join(self.terms),
                remedy="Add a term, such as +loss_term@loss.terms.soft=bernoulli_kl, or choose model.head=shared.",
            )
        loss.check(tasks, has_signals, self.key("loss"))
        sampling.check(tasks, has_signals)

    def _alone(self, own: DictConfig) -> FitPlan:
        """Returns the plan without what reads the teacher, and with the control's own settings."""
        terms = {name: node for name, node in self.loss["terms"].items() if not self.terms[name].uses_signals}
        if not terms:
            raise ConfigError(
                "Without the teacher no loss term is left to train the control with.",
                where="loss.terms",
                remedy="Add a term on labels, or switch the control off: control.enabled=false",
            )
        return replace(
            self,
            loss={name: node for name, node in self.loss.items() if name != "adapter"} | {"terms": terms},
            sampling={
                name: {**node, "taught": False} if node.get("taught", False) else node
                for name, node in self.sampling.items()
                if not self.samplers[name].needs_signals
            },
            optimizer=self.optimizer if own.optimizer is None else plain(own.optimizer),
            max_epochs=self.max_epochs if own.max_epochs is None else int(own.max_epochs),
        )

    def _check_asked(self, teacher: DictConfig) -> None:
        """Refuses samplers that ask a teacher about rows that it cannot be asked about."""
        asking = [name for name, node in self.sampling.items() if node.get("taught", False)]
        if asking and teacher.get("signals") != "online":
            raise ConfigError(
                "Only a frozen teacher that runs in the step can score rows that a sampler adds.",
                where=", ".join(f"sampling.{name}.taught" for name in asking),
                expected="false, or teacher.signals=online with teacher=trained or checkpoint",
                found=f"true, with teacher={teacher.source}",
            )

    def _refuse_adapter(self) -> None:
        if self._parts[0].adapter is not None:
            raise ConfigError(
                "A teacher that learns beside the student from the same labels is not stale.",
                where="CompositeLoss.adapter",
                expected="null, or a teacher that is trained already (teacher=checkpoint, column, trained or ensemble)",
                found="an adapter, with teacher=cotrained",
            )

    def _must_listen(self) -> None:
        if not self.taught:
            raise ConfigError(
                "No term lets the student learn from the cotrained teacher.",
                where="loss.terms",
                expected="a term that reads the teacher's signals",
                found=", ".join(self.terms),
                remedy="Choose loss=pfd, or add a term: +loss_term@loss.terms.list=softmax_kl",
            )


@dataclass(frozen=True)
class Cotraining:
    """The teacher that learns in the same steps.

    Attributes:
        teacher: Its plan; it has the student's optimiser.
        share_embeddings: Whether it uses the student's embedding tables.
        own_embeddings: Fields that each of the two has tables of its own for nevertheless.
    """

    teacher: FitPlan
    share_embeddings: bool
    own_embeddings: tuple[str, ...]

    @classmethod
    def of(cls, cfg: DictConfig) -> Cotraining:
        """Reads how the teacher of `teacher=cotrained` learns.

        Raises:
            ConfigError: The student is not a model that learns with a teacher, or options contradict each other.
        """
        if not is_preranker(plain(cfg.model.net), "model.net"):
            raise ConfigError(
                "Only a pre-ranker can be the student of a cotrained teacher.",
                where="model",
                expected="a pre-ranker, such as two_tower or cold",
                found=str(cfg.model.name),
            )
        own, share = plain(cfg.teacher.own_embeddings), bool(cfg.teacher.share_embeddings)
        if own and not share:
            raise ConfigError(
                "Without shared embeddings, every table is already separate.",
                where="teacher.own_embeddings",
                expected="[] with teacher.share_embeddings=false",
                found=str(own),
            )
        return cls(FitPlan.of(cfg, "teacher"), share, tuple(own))


@dataclass(frozen=True)
class Signals:
    """Where a fit finds its teacher: beside the data (`reader`: "dataset" or a folder) or in the step (`model`).

    Attributes:
        reader: Given to the reader, or None.
        source: Gives the signals of a batch.
        privileged: Whether the source wants batches with privileged fields.
        probabilities: Whether its logits are those of labels, rather than of an order alone.
    """

    reader: str | None
    source: SignalSource
    privileged: bool = False
    probabilities: bool = True


@dataclass(frozen=True)
class FitResult:
    """A trained model.

    Attributes:
        checkpoint: The best by the monitored metric.
        parameters: Number of weights.
        seconds: Of training, validation included.
        epochs: Trained.
        steps: Optimiser steps.
        ending: Why it ended, and which checkpoint was the best.
        learning: The monitored metric and the loss at each validation; None if not known.
    """

    checkpoint: Path
    parameters: int
    seconds: float
    epochs: int
    steps: int
    ending: Ending
    learning: LearningCurve | None = None
