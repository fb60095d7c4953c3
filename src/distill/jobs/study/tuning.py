"""The trials of a study, batch by batch, until there are as many as were asked for."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from distill.errors import ConfigError
from distill.jobs.manifest import MANIFEST_FILE
from distill.jobs.node import build
from distill.jobs.program import quoted
from distill.jobs.study.settings import FOLDER, check_same_settings, check_study, resolved_study
from distill.jobs.study.space import read_space
from distill.jobs.study.storage import open_study
from distill.lock import locked
from distill.reports.summary import SUMMARY_FILE, Summary, load_summary

_log = logging.getLogger(__name__)
_Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]


class _Pruned:
    """In the place of the value of a trial that was given up."""


class Tuning:
    """A study and what its trials have in common.

    The first seed of a trial is what the pruner sees; its other seeds are trained if it got through, and the value of
    the trial is the mean over all of them. Trials that were running when an earlier sweep of the same folder was
    interrupted go on where they were.

    Args:
        config: Of the sweep, Hydra's part included.
        arguments: Of the command line, without Hydra's.
        launch: Runs jobs, given as overrides, and the number of the first.

    Raises:
        ConfigError: The study cannot be what it asks to be, or goes on with other settings than it was begun with.
    """

    def __init__(self, config: DictConfig, arguments: Sequence[str], launch: _Launch) -> None:
        check_study(config)
        self.folder = Path(config.hydra.sweep.dir).resolve()
        self.node = resolved_study(config)
        numbers: Any = OmegaConf.to_container(config, resolve=False)
        own = {key: value for key, value in numbers.items() if key not in ("hydra", "study")}
        self.space = read_space(numbers["study"].get("params") or {}, arguments, own)
        groups = OmegaConf.select(config, "hydra.runtime.choices") or {}
        self.given = self.space.given(lambda key: groups.get(key, OmegaConf.select(config, key)))
        self.seeds = [int(seed) for seed in (self.node.seeds or [config.seed])]
        self.n_jobs = int(self.node.n_jobs or OmegaConf.select(config, "hydra.launcher.n_jobs") or 1)
        self.launch = launch

    def run(self) -> None:
        """Runs trials until the study has `study.n_trials`, those of earlier sweeps included."""
        with locked(self.folder / "study.lock"):
            self.study = open_study(self.node)
            check_same_settings(self.study, self.space.fixed, str(self.node.objective), self.seeds)
            _log.info(
                "Study in %s: after an interruption, continue with hydra.sweep.dir=%s", self.node.storage, self.folder
            )
            waiting = self._interrupted()
            while batch := waiting[: self.n_jobs] or self._ask():
                waiting = waiting[self.n_jobs :]
                self._run(batch)

    def _interrupted(self) -> list[FrozenTrial]:
        running = self.study.get_trials(states=(TrialState.RUNNING,))
        return [trial for trial in running if trial.user_attrs.get(FOLDER) == str(self.folder)]

    def _ask(self) -> list[FrozenTrial]:
        """Draws trials, behind the given settings; each with a seed of its own: an interruption changes nothing."""
        self._given_first()
        numbers = []
        for _ in range(self.n_jobs):
            before = len([trial for trial in self.study.trials if trial.state != TrialState.WAITING])
            if before >= int(self.node.n_trials):
                break
            seed = int(np.random.SeedSequence([int(self.node.sampler_seed), before]).generate_state(1)[0])
            self.study.sampler = build(self.node.sampler, "study.sampler", optuna.samplers.BaseSampler, seed=seed)
            trial = self.study.ask(self.space.distributions)
            trial.set_user_attr(FOLDER, str(self.folder))
            numbers.append(trial.number)
        trials = self.study.trials
        return [trials[number] for number in numbers]

    def _given_first(self) -> None:
        """Gives the first trial of a new study the settings that a run has without it: what is tuned must beat them."""
        if self.study.trials or not self.given:
            return
        self.study.enqueue_trial(self.given)
        rest = [key for key in self.space.distributions if key not in self.given]
        outside = f"; outside of the space, and so drawn: {', '.join(rest)}" if rest else ""
        _log.info("Trial 0 has the given settings: %s%s", ", ".join(f"{k}={v}" for k, v in self.given.items()), outside)

    def _run(self, trials: Sequence[FrozenTrial]) -> None:
        first = self._results([(trial, self.seeds[0]) for trial in trials])
        through = [t for t, result in zip(trials, first, strict=True) if isinstance(result, float)]
        more = self._results([(trial, seed) for trial in through for seed in self.seeds[1:]])
        for trial, result in zip(trials, first, strict=True):
            if isinstance(result, float):
                others, more = more[: len(self.seeds) - 1], more[len(self.seeds) - 1 :]
                self._tell(trial, [result, *others])
            else:
                self._tell(trial, [result])
        finished = self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
        if not finished:
            raise ConfigError(
                "No trial has a result, so the study stops.",
                where=str(self.folder),
                remedy="See the messages of its jobs above; correct the settings and start a new study.",
            )

    def _tell(self, trial: FrozenTrial, results: Sequence[float | _Pruned | None]) -> None:
        values = [value for value in results if isinstance(value, float)]
        if isinstance(results[0], _Pruned):
            self.study.tell(trial.number, state=TrialState.PRUNED)
            _log.info("Trial %d: pruned", trial.number)
        elif len(values) == len(results) and all(value == value for value in values):
            value = statistics.fmean(values)
            self.study.tell(trial.number, value)
            best = self.study.best_trial
            told = (trial.number, self.node.objective, value, best.value, best.number)
            _log.info("Trial %d: %s %.4f; the best so far %.4f (trial %d)", *told)
        else:
            self.study.tell(trial.number, state=TrialState.FAIL)
            _log.warning("Trial %d: failed", trial.number)

    def _results(self, jobs: Sequence[tuple[FrozenTrial, int]]) -> list[float | _Pruned | None]:
        """Runs jobs of (trial, seed) that have no summary yet; a value, pruned, or None for one that failed."""
        found: dict[tuple[int, int], float | _Pruned | None] = {}
        todo = []
        for trial, seed in jobs:
            folder = self.folder / _name(trial, seed)
            if (folder / SUMMARY_FILE).exists():
                found[trial.number, seed] = self._value(load_summary(folder))
            else:
                todo.append((trial, seed))
        if todo:
            returns = self.launch([self._overrides(*job) for job in todo], todo[0][0].number)
            for (trial, seed), result in zip(todo, returns, strict=True):
                found[trial.number, seed] = self._value(_returned(result, _name(trial, seed)))
        return [found[trial.number, seed] for trial, seed in jobs]

    def _value(self, result: Any) -> float | _Pruned | None:
        if not isinstance(result, Summary):
            return None
        return _Pruned() if result.pruned is not None else _objective(result, str(self.node.objective))

    def _overrides(self, trial: FrozenTrial, seed: int) -> list[str]:
        name = _name(trial, seed)
        drawn = self.space.overrides(trial.params, f"{self.node.storage}, trial {trial.number}")
        own = {"hydra.sweep.subdir": name, "study.storage": str(self.node.storage)}
        if (self.folder / name / MANIFEST_FILE).exists():
            own["resume"] = str(self.folder / name)
        reports = [f"study.trial={trial.number}"] if seed == self.seeds[0] else []
        return [*self.space.fixed, *drawn, f"seed={seed}", *reports, *_quoted(own)]


def _objective(summary: Summary, name: str) -> float:
    found = summary.validation.get(summary.main_role, {})
    if name not in found:
        raise ConfigError(
            "The objective is not measured.",
            where="study.objective",
            expected=", ".join(sorted(found)),
            found=name,
        )
    return found[name]


def _name(trial: FrozenTrial, seed: int) -> str:
    return f"{trial.number}_{seed}"


def _quoted(overrides: Mapping[str, str]) -> list[str]:
    return [f"{key}={quoted(value)}" for key, value in overrides.items()]


def _returned(result: JobReturn, name: str) -> Any:
    try:
        return result.return_value
    except Exception as error:  # whatever a job of the user's settings raises: the other trials have their turn
        _log.error("Job %s ended with %s: %s", name, type(error).__name__, error)
        return None
