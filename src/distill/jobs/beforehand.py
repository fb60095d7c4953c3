"""What can be refused, or warned of, before any data is prepared or anything is trained."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError
from distill.jobs.construct import TARGET, nodes
from distill.jobs.fit import FitJob
from distill.jobs.monitored import check_measured
from distill.jobs.parts import build, build_loss, check_net, plain
from distill.jobs.targets import run_part
from distill.jobs.teacher import SOURCES, scored_tasks
from distill.losses.tasks import task_infos
from distill.metrics import MetricSuite
from distill.sampling import Sampling
from distill.schema import Schema
from distill.training.launch import rank
from distill.training.lr_schedule import LRSchedule
from distill.training.optim import OptimizerFactory

_log = logging.getLogger(__name__)
_FEW_STEPS = 500
_SMALL_BATCH = 128


def check_given(cfg: DictConfig) -> None:
    """Refuses a config with a value that must be given and is not.

    Raises:
        ConfigError: There is one; names all.
    """
    missing = list(_missing(OmegaConf.to_container(cfg, resolve=False), ""))
    if missing:
        raise ConfigError(
            "A value must be given.",
            where=", ".join(missing),
            found="???",
            remedy="Give " + " ".join(f"{key}=…" for key in missing),
        )


def _missing(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _missing(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _missing(value, f"{key}[{position}]")
    elif node == "???":
        yield key


def check_config(cfg: DictConfig, schema: Schema | None) -> None:
    """Refuses what no data could make right, before any is prepared.

    Args:
        cfg: Of the run, without interpolations.
        schema: Of the raw data, where it is known without looking at them.

    Raises:
        ConfigError: A part cannot be built, a value is none of those that there are, or parts do not fit each other.
    """
    check_teacher(cfg)
    _check_parts(cfg)
    if schema is not None:
        check_measured(cfg, schema)
        if cfg.teacher.source == "column" and cfg.teacher.path is None and schema.teacher is None:
            raise ConfigError(
                "The data hold no teacher scores.",
                where="teacher.source",
                expected=" or ".join(f"teacher_{task}" for task in schema.task_names),
                found="none",
                remedy="Declare them under `teacher` in the schema, or give teacher.path=DIR.",
            )
        taught, has_teacher = scored_tasks(cfg, schema), cfg.teacher.source != "none"
        check_terms(plain(cfg.loss), plain(cfg.sampling), schema, taught, has_teacher)
        return
    for name, term in build_loss(plain(cfg.loss), "loss").terms.items():
        if cfg.teacher.source == "none" and term.uses_signals:
            raise ConfigError(
                f"The loss term {type(term).__name__} needs teacher signals, but there is no teacher.",
                where=f"loss.terms.{name}",
                remedy="Choose a teacher, or remove the term from the loss.",
            )


def check_teacher(cfg: DictConfig) -> None:
    """Refuses a teacher that nothing is known of, or whose files are not there.

    Raises:
        ConfigError: Its source, or the way to use it, is none of those that there are, or a path leads nowhere.
    """
    teacher = cfg.teacher
    _check_one_of(teacher.source, SOURCES, "teacher.source", "Unknown source of teacher signals.")
    if teacher.source in ("trained", "checkpoint"):
        _check_one_of(teacher.signals, ("cached", "online"), "teacher.signals", "Unknown way to use a teacher.")
    named = {"teacher.path": teacher.get("path")}
    if teacher.source == "ensemble":
        named = {f"teacher.members[{i}]": member for i, member in enumerate(plain(teacher.members))}
    for where, path in named.items():
        if path is not None and not Path(str(path)).exists():
            raise ConfigError("The teacher does not exist.", where=where, found=str(path), remedy="Check the path.")


def _check_one_of(value: Any, known: Sequence[str], where: str, problem: str) -> None:
    if value not in known:
        raise ConfigError(problem, where=where, expected=", ".join(known), found=str(value))


def _check_parts(cfg: DictConfig) -> None:
    """Builds what can be built without data, to find what cannot."""
    _check_model(cfg, "")
    build(cfg.metrics, "metrics", MetricSuite)
    Sampling({name: build(node, f"sampling.{name}") for name, node in plain(cfg.sampling).items()})
    if cfg.control.optimizer is not None:
        build(cfg.control.optimizer, "control.optimizer", OptimizerFactory)
    if cfg.teacher.source in ("trained", "cotrained"):
        _check_model(cfg.teacher, "teacher.")
    for name, node in cfg.callbacks.extra.items():
        _check_targets(plain(node), f"callbacks.extra.{name}", pl.Callback)
    content = plain(cfg.trainer)
    known = inspect.signature(_check_targets(content, "trainer", pl.Trainer)).parameters
    if unknown := [name for name in content if name not in known and name != TARGET]:
        raise ConfigError(
            "The trainer has no such argument.",
            where=", ".join(f"trainer.{name}" for name in unknown),
            expected=", ".join(known),
            found=", ".join(unknown),
        )


def _check_targets(node: Mapping[str, Any], where: str, kind: type[Any]) -> type[Any]:
    """Looks at all targets of a node that is built later, and returns the class of the outermost."""
    for inner, place in nodes(node, where):
        run_part(inner[TARGET], f"{place}.{TARGET}")
    return run_part(node.get(TARGET), f"{where}.{TARGET}", kind)


def _check_model(node: DictConfig, prefix: str) -> None:
    check_net(plain(node.model.net), f"{prefix}model.net")
    build_loss(plain(node.loss), f"{prefix}loss")
    if "optimizer" in node:
        build(node.optimizer, f"{prefix}optimizer", OptimizerFactory)
        build(node.scheduler, f"{prefix}scheduler", LRSchedule)


def check_terms(
    loss: Mapping[str, Any], sampling: Mapping[str, Any], schema: Schema, taught: Sequence[str], has_signals: bool
) -> None:
    """Refuses loss terms and samplers that do not fit the tasks or the teacher.

    Args:
        loss, sampling: Configs of those parts, of the model that may have a teacher.
        schema: Of the dataset.
        taught: Names of the tasks that the teacher scores.
        has_signals: Whether there is one.

    Raises:
        ConfigError: A term or sampler asks for a task, or for the teacher's word on one, that there is not.
    """
    build_loss(loss, "loss").setup(task_infos(schema, taught), has_signals)
    rules = Sampling({name: build(node, f"sampling.{name}") for name, node in sampling.items()})
    rules.setup(schema.task_names, has_signals, taught)


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
        "WARNING: The %s will train for %d steps only, too few for most models. Take smaller batches or more epochs, "
        "such as data.loader.batch_candidates=%d or trainer.max_epochs=%d; early stopping ends what has stopped to "
        "get better.",
        job.plan.role,
        steps,
        2 ** int(math.log2(batch)),
        epochs,
    )
