"""What can be refused, or warned of, before any data is prepared or anything is trained."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.fit import FitJob
from distill.jobs.fit_plan import FitPlan
from distill.jobs.monitor_choice import with_monitor
from distill.jobs.monitored import check_measured
from distill.jobs.node import build, plain
from distill.jobs.parts import build_loss, check_net, model_class
from distill.jobs.reported import check_reported
from distill.jobs.sharding import check_sharding, check_tables
from distill.jobs.sizes import assumed
from distill.jobs.teacher import scored_tasks
from distill.metrics import MetricSuite
from distill.models.prerankers.base import SplitPreRanker
from distill.ops.ranks import rank
from distill.sampling.added import AddedNegatives
from distill.schema import Schema, Side
from distill.training.lr_schedule import LRSchedule
from distill.training.optim import OptimizerFactory

_log = logging.getLogger(__name__)
_FEW_STEPS = 500
_SMALL_BATCH = 128
_TRAINED = ("trained", "cotrained")


def check_config(cfg: DictConfig, schema: Schema | None) -> None:
    """Refuses what no data could make right, before any is prepared; `check_values` has looked at each value alone.

    Args:
        cfg: Of the run, without interpolations.
        schema: Of the raw data, where it is known without looking at them.

    Raises:
        ConfigError: A part cannot be built, a value is none of those that there are, or parts do not fit each other.
    """
    cfg = assumed(cfg)
    _check_teacher_files(cfg)
    check_tables(cfg)
    _check_parts(cfg)
    plans = [FitPlan.main(cfg), *([FitPlan.of(cfg, "teacher")] if cfg.teacher.source in _TRAINED else [])]
    _check_vectors(cfg, plans)
    check_sharding(cfg, plans)
    if schema is not None:
        cfg, _ = with_monitor(cfg, schema)
        check_measured(cfg, schema)
        check_reported(cfg, schema)
        if cfg.teacher.source == "column" and cfg.teacher.path is None and schema.teacher is None:
            raise ConfigError(
                "The data hold no teacher scores.",
                where="teacher.source",
                expected=" or ".join(f"teacher_{task}" for task in schema.task_names),
                found="none",
                remedy="Declare them under `teacher` in the schema, or give teacher.path=DIR.",
            )
        check_terms(FitPlan.main(cfg), schema, scored_tasks(cfg, schema), cfg.teacher.source != "none")
        return
    for name, term in FitPlan.main(cfg).terms.items():
        if cfg.teacher.source == "none" and term.uses_signals:
            raise ConfigError(
                f"The loss term {type(term).__name__} needs teacher signals, but there is no teacher.",
                where=f"loss.terms.{name}",
                remedy="Choose a teacher, or remove the term from the loss.",
            )


def _check_teacher_files(cfg: DictConfig) -> None:
    """Refuses a teacher whose files are not there.

    Raises:
        ConfigError: A path leads nowhere.
    """
    teacher = cfg.teacher
    named = {"teacher.path": teacher.get("path")}
    if teacher.source == "ensemble":
        named = {f"teacher.members[{i}]": member for i, member in enumerate(plain(teacher.members))}
    for where, path in named.items():
        if path is not None and not Path(str(path)).exists():
            raise ConfigError("The teacher does not exist.", where=where, found=str(path), remedy="Check the path.")


def _check_vectors(cfg: DictConfig, plans: Sequence[FitPlan]) -> None:
    """Refuses start vectors that are not there; a run that goes on needs those of frozen rows only.

    Raises:
        ConfigError: A path leads nowhere.
    """
    for plan in plans:
        for table, file in plan.vectors.items():
            if not file.path.is_file() and (cfg.resume is None or file.frozen):
                raise ConfigError(
                    "The file of start vectors does not exist.",
                    where=plan.key(f"model.vectors.{table}.path"),
                    found=str(file.path),
                    remedy="Check the path.",
                )


def _check_parts(cfg: DictConfig) -> None:
    """Builds what can be built without data, to find what cannot."""
    _check_model(cfg, "")
    build(cfg.metrics, "metrics", MetricSuite)
    if cfg.control.optimizer is not None:
        build(cfg.control.optimizer, "control.optimizer", OptimizerFactory)
    if cfg.teacher.source in _TRAINED:
        _check_model(cfg.teacher, "teacher.")


def _check_model(node: DictConfig, prefix: str) -> None:
    check_net(plain(node.model.net), f"{prefix}model.net")
    build_loss(plain(node.loss), f"{prefix}loss")
    if "optimizer" in node:
        build(node.optimizer, f"{prefix}optimizer", OptimizerFactory)
        build(node.scheduler, f"{prefix}scheduler", LRSchedule)


def check_terms(plan: FitPlan, schema: Schema, taught: Sequence[str], has_signals: bool) -> None:
    """Refuses loss terms and samplers that do not fit the dataset or the teacher.

    Args:
        plan: Of the model that may have a teacher.
        schema: Of the dataset.
        taught: Names of the tasks that the teacher scores.
        has_signals: Whether there is one.

    Raises:
        ConfigError: A term or sampler asks for a task, or for the teacher's word on one, that there is not.
    """
    plan.check(schema, taught, has_signals)
    added = [f"sampling.{name}" for name, rule in plan.samplers.items() if isinstance(rule, AddedNegatives)]
    if added and schema.keys.item is None:
        raise ConfigError(
            "Without item keys, the items that a request lacks are unknown.",
            where=", ".join(added),
            expected="keys.item in the schema",
            found="none",
            remedy="Name the column of the item under `keys` in the schema, or leave the sample rule out.",
        )


def warn_of_equal_requests(job: FitJob) -> None:
    """Says that requests cannot differ to a pre-ranker in parts without a field of theirs."""
    schema = job.dataset.schema.serving_view()
    in_parts = issubclass(model_class(job.plan.net, job.plan.key("model.net")), SplitPreRanker)
    if rank() == 0 and in_parts and schema.layout == "requests" and not schema.side(Side.REQUEST):
        _log.warning(
            "WARNING: No field has side: request in the schema, so the %s tells requests apart by fields of the "
            "pair alone, if it reads any.",
            job.plan.role,
        )


def warn_of_few_steps(job: FitJob) -> None:
    """Says that small logs, read a few times in large batches, make too few steps to learn much from.

    Says nothing where `trainer.max_steps` was set.
    """
    steps = job.planned_steps()
    if rank() != 0 or job.cfg.trainer.max_steps > 0 or not 0 < steps < _FEW_STEPS:
        return
    epochs = math.ceil(_FEW_STEPS * job.plan.max_epochs / steps)
    batch = max(_SMALL_BATCH, int(job.cfg.data.loader.batch_candidates) * steps // _FEW_STEPS)
    _log.warning(
        "WARNING: The %s will train for only %d steps, too few for most models. Take smaller batches or more epochs, "
        "such as data.loader.batch_candidates=%d or trainer.max_epochs=%d; early stopping ends a "
        "training that no longer improves.",
        job.plan.role,
        steps,
        2 ** int(math.log2(batch)),
        epochs,
    )
