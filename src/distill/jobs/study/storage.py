"""Where a study is kept, and how a job finds its trial there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from distill.jobs.node import build

_DIRECTION = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


def open_study(node: DictConfig, sampler: Any = None) -> optuna.Study:
    """Opens the study of a config, or makes it.

    Args:
        node: `study` of a run's config, with its storage.
        sampler: Draws parameters; a job needs none.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    return optuna.create_study(
        storage=_storage(str(node.storage)),
        study_name=str(node.name),
        direction=_DIRECTION[str(node.mode)],
        sampler=sampler,
        pruner=build(node.pruner, "study.pruner", optuna.pruners.BasePruner),
        load_if_exists=True,
    )


class Reporter:
    """A running trial, as the job that runs it sees it.

    Args:
        node: `study` of the job's config.
    """

    def __init__(self, node: DictConfig) -> None:
        study = open_study(node)
        self._trial = optuna.Trial(study, study.trials[int(node.trial)]._trial_id)

    def __call__(self, step: int, value: float) -> bool:
        """Reports the value of a validation and returns whether the pruner gives the trial up."""
        self._trial.report(value, step)
        return self._trial.should_prune()


def _storage(place: str) -> BaseStorage:
    """A file is a journal, which several processes may write to; anything with `://` is a database."""
    if "://" in place:
        return RDBStorage(place)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))
