"""What a study may ask for, and that it goes on as it was begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError
from distill.jobs.datasets import raw_schema
from distill.jobs.identity import ASIDE
from distill.jobs.machine import AUTO
from distill.jobs.monitor_choice import with_monitor
from distill.jobs.node import build
from distill.metrics import Goal, MetricSuite
from distill.reports.known_goals import known_goal
from distill.training.rendezvous import started_outside

if TYPE_CHECKING:
    import optuna

FOLDER = "folder"  # the attribute of a trial that names its sweep
_SETTINGS = "settings"
_MAY_CHANGE = ("optuna/", *(f"{key}{end}" for key in ASIDE for end in "=."))


def check_study(config: DictConfig) -> None:
    """Refuses what no study can be.

    Raises:
        ConfigError: There is none, its objective is none, or other ranks run the same sweep.
    """
    if config.study is None:
        raise ConfigError("The sweeper has no study.", where="study", remedy="Add +sweep=optuna.")
    config = _settled(config)
    objective, mode = str(config.study.objective), str(config.study.mode)
    if not objective.startswith("val/"):
        raise ConfigError(
            "Settings are chosen on the validation split.", where="study.objective", expected="val/…", found=objective
        )
    _check_mode(_goal(config, objective), objective, mode)
    if started_outside():
        raise ConfigError(
            "Each rank would run its own study.",
            where="torchrun or srun around a study",
            remedy="Start it without: trainer=ddp starts the processes of each job, hydra/launcher=distill_slurm too.",
        )


def _goal(config: DictConfig, objective: str) -> Goal:
    """Asks the metrics of the config what is better of the objective."""
    if config.get("metrics") is None:
        return known_goal(objective)
    suite: MetricSuite = build(config.metrics, "metrics", MetricSuite)
    return suite.goal(objective)


def _check_mode(goal: Goal, objective: str, mode: str) -> None:
    if goal.better == "down" and mode != "min":
        raise ConfigError("Smaller values of the objective are better.", where="study.mode", expected="min", found=mode)
    if goal.better == "up" and mode != "max":
        raise ConfigError("Larger values of the objective are better.", where="study.mode", expected="max", found=mode)
    if goal.better == "target":
        raise ConfigError(
            f"The objective is best at {goal.target:g}, so it can be neither maximised nor minimised.",
            where="study.objective",
            expected="a metric of which more or less is better",
            found=objective,
        )


def _settled(config: DictConfig) -> DictConfig:
    """Returns the config of a sweep with what `auto` stands for in the objective and its mode.

    Raises:
        ConfigError: The tasks are not known yet.
    """
    if AUTO not in (str(config.study.objective), str(config.study.mode)):
        return config
    if (schema := raw_schema(config)) is None:
        raise ConfigError(
            "The tasks are not known before the data are prepared, and the objective follows from them.",
            where="study.objective, study.mode",
            expected="val/TASK/METRIC, and max or min",
            found=f"{config.study.objective}, {config.study.mode}",
        )
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    OmegaConf.resolve(own)  # the mode of another objective does not follow that of the monitored metric
    return with_monitor(own, schema)[0]


def resolved_study(config: DictConfig) -> DictConfig:
    """Returns a sweep's study with its objective and its storage, by default a file in the sweep's folder."""
    node = OmegaConf.create({k: v for k, v in _settled(config).study.items() if k != "params"})
    assert isinstance(node, DictConfig)
    if node.storage is None:
        node.storage = str(Path(config.hydra.sweep.dir).resolve() / "study.journal")
    elif "://" not in str(node.storage):
        node.storage = str(Path(node.storage).resolve())
    return node


def check_same_settings(study: optuna.Study, fixed: Sequence[str], objective: str, seeds: Sequence[int]) -> None:
    """Remembers what all trials of a new study share, and compares it with that of one that goes on.

    Raises:
        ConfigError: It differs: trials could not be compared.
    """
    kept = sorted(override for override in fixed if not override.startswith(_MAY_CHANGE))
    settings = [f"study.objective={objective}", f"study.seeds={list(seeds)}", *kept]
    before = study.user_attrs.get(_SETTINGS)
    if before is None:
        study.set_user_attr(_SETTINGS, settings)
    elif before != settings:
        raise ConfigError(
            "The study was started with other settings.",
            where="study.storage, study.name",
            expected=" ".join(before),
            found=f"{' '.join(settings)} (of the study {study.study_name})",
            remedy="Go on with the same command, or give another hydra.sweep.dir, study.storage or study.name.",
        )
